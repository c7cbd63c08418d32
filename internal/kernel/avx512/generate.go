package avx512

//go:generate sh -c "cd ../_asm && for g in gemm pack vec philox; do go run ./$$g -isa avx512 -out ../avx512/$${g}_amd64.s -stubs ../avx512/$${g}_amd64.go -pkg avx512 || exit 1; done"
