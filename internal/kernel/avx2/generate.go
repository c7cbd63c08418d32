package avx2

//go:generate sh -c "cd ../_asm && go run ./gemm -isa avx2 -out ../avx2/gemm_amd64.s -stubs ../avx2/gemm_amd64.go -pkg avx2"
//go:generate sh -c "cd ../_asm && go run ./pack -isa avx2 -out ../avx2/pack_amd64.s -stubs ../avx2/pack_amd64.go -pkg avx2"
//go:generate sh -c "cd ../_asm && go run ./vec -isa avx2 -out ../avx2/vec_amd64.s -stubs ../avx2/vec_amd64.go -pkg avx2"
//go:generate sh -c "cd ../_asm && go run ./philox -isa avx2 -out ../avx2/philox_amd64.s -stubs ../avx2/philox_amd64.go -pkg avx2"
//go:generate sh -c "(echo '// Code generated from avx512/loops_amd64.go. DO NOT EDIT.'; echo; sed 's/^package avx512$/package avx2/' ../avx512/loops_amd64.go) > loops_amd64.go"
