package avx2

//go:generate sh -c "cd ../_asm && go run ./gemm -isa avx2 -out ../avx2/gemm_amd64.s -stubs ../avx2/gemm_amd64.go -pkg avx2"
