package avx512

//go:generate sh -c "cd ../_asm && go run ./gemm -isa avx512 -out ../avx512/gemm_amd64.s -stubs ../avx512/gemm_amd64.go -pkg avx512"
//go:generate sh -c "cd ../_asm && go run ./pack -isa avx512 -out ../avx512/pack_amd64.s -stubs ../avx512/pack_amd64.go -pkg avx512"
//go:generate sh -c "cd ../_asm && go run ./vec -isa avx512 -out ../avx512/vec_amd64.s -stubs ../avx512/vec_amd64.go -pkg avx512"
//go:generate sh -c "cd ../_asm && go run ./philox -isa avx512 -out ../avx512/philox_amd64.s -stubs ../avx512/philox_amd64.go -pkg avx512"
//go:generate sh -c "cd ../_asm && go run ./attention -out ../avx512/attention_amd64.s -stubs ../avx512/attention_amd64.go -pkg avx512"
