package avx512bf16

//go:generate sh -c "cd ../_asm && go run ./gemm -isa avx512bf16 -out ../avx512bf16/gemm_amd64.s -stubs ../avx512bf16/gemm_amd64.go -pkg avx512bf16"
//go:generate sh -c "cd ../_asm && go run ./pack -isa avx512bf16 -out ../avx512bf16/pack_amd64.s -stubs ../avx512bf16/pack_amd64.go -pkg avx512bf16"
//go:generate sh -c "(echo '// Code generated from avx512/panels_amd64.go. DO NOT EDIT.'; echo; sed 's/^package avx512$/package avx512bf16/' ../avx512/panels_amd64.go) > panels_amd64.go"
