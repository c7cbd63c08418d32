package avx2

//go:generate sh -c "cd ../_asm && for g in gemm pack vec philox; do go run ./$$g -isa avx2 -out ../avx2/$${g}_amd64.s -stubs ../avx2/$${g}_amd64.go -pkg avx2 || exit 1; done"
