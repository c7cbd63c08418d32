package standin

// PTX holds small kernels for tests of the driver layer. It is good for any device of compute capability 8.0 and more;
// the stand-in runs them on the CPU:
//
//	standin_fill(dst, u32 value, u32 n)     dst[i] = value, 4 bytes each
//	standin_copy(dst, src, u32 n)           dst[i] = src[i]
//	standin_add(dst, src, u32 n)            dst[i] += src[i]
//	standin_overrun(dst, u32 value, u32 n)  fill with n+1 elements: one too many
//	standin_types(dst, u32, u64, f32, f64, u32, u64, f32, u64, u32)   each argument into 8 bytes of dst
//	standin_nothing(p)                      nothing
//	standin_shared(u32)                     1 KB of static shared memory, at most 256 threads
//	standin_trap()                          a fault of the device
const PTX = `.version 7.0
.target sm_80
.address_size 64

.visible .entry standin_fill(
	.param .u64 standin_fill_dst,
	.param .u32 standin_fill_value,
	.param .u32 standin_fill_n
)
{
	.reg .pred %p<2>;
	.reg .b32 %r<7>;
	.reg .b64 %rd<5>;

	ld.param.u64 %rd1, [standin_fill_dst];
	ld.param.u32 %r1, [standin_fill_value];
	ld.param.u32 %r2, [standin_fill_n];
	mov.u32 %r3, %ctaid.x;
	mov.u32 %r4, %ntid.x;
	mov.u32 %r5, %tid.x;
	mad.lo.s32 %r6, %r3, %r4, %r5;
	setp.ge.u32 %p1, %r6, %r2;
	@%p1 bra $done;
	cvta.to.global.u64 %rd2, %rd1;
	mul.wide.u32 %rd3, %r6, 4;
	add.s64 %rd4, %rd2, %rd3;
	st.global.u32 [%rd4], %r1;
$done:
	ret;
}

.visible .entry standin_overrun(
	.param .u64 standin_overrun_dst,
	.param .u32 standin_overrun_value,
	.param .u32 standin_overrun_n
)
{
	.reg .pred %p<2>;
	.reg .b32 %r<7>;
	.reg .b64 %rd<5>;

	ld.param.u64 %rd1, [standin_overrun_dst];
	ld.param.u32 %r1, [standin_overrun_value];
	ld.param.u32 %r2, [standin_overrun_n];
	mov.u32 %r3, %ctaid.x;
	mov.u32 %r4, %ntid.x;
	mov.u32 %r5, %tid.x;
	mad.lo.s32 %r6, %r3, %r4, %r5;
	setp.gt.u32 %p1, %r6, %r2;
	@%p1 bra $done;
	cvta.to.global.u64 %rd2, %rd1;
	mul.wide.u32 %rd3, %r6, 4;
	add.s64 %rd4, %rd2, %rd3;
	st.global.u32 [%rd4], %r1;
$done:
	ret;
}

.visible .entry standin_copy(
	.param .u64 standin_copy_dst,
	.param .u64 standin_copy_src,
	.param .u32 standin_copy_n
)
{
	.reg .pred %p<2>;
	.reg .b32 %r<7>;
	.reg .b64 %rd<8>;

	ld.param.u64 %rd1, [standin_copy_dst];
	ld.param.u64 %rd2, [standin_copy_src];
	ld.param.u32 %r1, [standin_copy_n];
	mov.u32 %r2, %ctaid.x;
	mov.u32 %r3, %ntid.x;
	mov.u32 %r4, %tid.x;
	mad.lo.s32 %r5, %r2, %r3, %r4;
	setp.ge.u32 %p1, %r5, %r1;
	@%p1 bra $done;
	cvta.to.global.u64 %rd3, %rd1;
	cvta.to.global.u64 %rd4, %rd2;
	mul.wide.u32 %rd5, %r5, 4;
	add.s64 %rd6, %rd3, %rd5;
	add.s64 %rd7, %rd4, %rd5;
	ld.global.u32 %r6, [%rd7];
	st.global.u32 [%rd6], %r6;
$done:
	ret;
}

.visible .entry standin_add(
	.param .u64 standin_add_dst,
	.param .u64 standin_add_src,
	.param .u32 standin_add_n
)
{
	.reg .pred %p<2>;
	.reg .b32 %r<9>;
	.reg .b64 %rd<8>;

	ld.param.u64 %rd1, [standin_add_dst];
	ld.param.u64 %rd2, [standin_add_src];
	ld.param.u32 %r1, [standin_add_n];
	mov.u32 %r2, %ctaid.x;
	mov.u32 %r3, %ntid.x;
	mov.u32 %r4, %tid.x;
	mad.lo.s32 %r5, %r2, %r3, %r4;
	setp.ge.u32 %p1, %r5, %r1;
	@%p1 bra $done;
	cvta.to.global.u64 %rd3, %rd1;
	cvta.to.global.u64 %rd4, %rd2;
	mul.wide.u32 %rd5, %r5, 4;
	add.s64 %rd6, %rd3, %rd5;
	add.s64 %rd7, %rd4, %rd5;
	ld.global.u32 %r6, [%rd7];
	ld.global.u32 %r7, [%rd6];
	add.s32 %r8, %r6, %r7;
	st.global.u32 [%rd6], %r8;
$done:
	ret;
}

.visible .entry standin_types(
	.param .u64 standin_types_dst,
	.param .u32 standin_types_1,
	.param .u64 standin_types_2,
	.param .f32 standin_types_3,
	.param .f64 standin_types_4,
	.param .u32 standin_types_5,
	.param .u64 standin_types_6,
	.param .f32 standin_types_7,
	.param .u64 standin_types_8,
	.param .u32 standin_types_9
)
{
	.reg .b32 %r<6>;
	.reg .b64 %rd<12>;

	ld.param.u64 %rd1, [standin_types_dst];
	cvta.to.global.u64 %rd2, %rd1;
	ld.param.u32 %r1, [standin_types_1];
	cvt.u64.u32 %rd3, %r1;
	st.global.u64 [%rd2], %rd3;
	ld.param.u64 %rd4, [standin_types_2];
	st.global.u64 [%rd2+8], %rd4;
	ld.param.u32 %r2, [standin_types_3];
	cvt.u64.u32 %rd5, %r2;
	st.global.u64 [%rd2+16], %rd5;
	ld.param.u64 %rd6, [standin_types_4];
	st.global.u64 [%rd2+24], %rd6;
	ld.param.u32 %r3, [standin_types_5];
	cvt.u64.u32 %rd7, %r3;
	st.global.u64 [%rd2+32], %rd7;
	ld.param.u64 %rd8, [standin_types_6];
	st.global.u64 [%rd2+40], %rd8;
	ld.param.u32 %r4, [standin_types_7];
	cvt.u64.u32 %rd9, %r4;
	st.global.u64 [%rd2+48], %rd9;
	ld.param.u64 %rd10, [standin_types_8];
	st.global.u64 [%rd2+56], %rd10;
	ld.param.u32 %r5, [standin_types_9];
	cvt.u64.u32 %rd11, %r5;
	st.global.u64 [%rd2+64], %rd11;
	ret;
}

.visible .entry standin_nothing(
	.param .u64 standin_nothing_p
)
{
	ret;
}

.visible .entry standin_shared(
	.param .u32 standin_shared_n
)
.maxntid 256, 1, 1
{
	.shared .align 4 .b8 standin_tile[1024];

	ret;
}

.visible .entry standin_trap()
{
	trap;
	ret;
}
`
