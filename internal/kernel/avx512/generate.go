package avx512

//go:generate sh -c "cd ../_asm && go run ./gemm -isa avx512 -out ../avx512/gemm_amd64.s -stubs ../avx512/gemm_amd64.go -pkg avx512"
