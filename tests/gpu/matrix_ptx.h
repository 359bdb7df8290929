// Made from matrix.cu (4200787464 1188) by `make ptx`; not to be edited.
#pragma once
namespace kvfs::gpu_check {
inline constexpr const char kMatrixPtx[] = R"ptx(
.version 7.4
.target sm_75
.address_size 64
.visible .entry kvfs_matrix_product(
	.param .u64 kvfs_matrix_product_param_0,
	.param .u64 kvfs_matrix_product_param_1,
	.param .u64 kvfs_matrix_product_param_2,
	.param .u32 kvfs_matrix_product_param_3
)
{
	.reg .pred 	%p<3>;
	.reg .f32 	%f<57>;
	.reg .b32 	%r<24>;
	.reg .b64 	%rd<25>;
	.shared .align 4 .b8 _ZZ19kvfs_matrix_productE4of_a[1024];
	.shared .align 4 .b8 _ZZ19kvfs_matrix_productE4of_b[1024];
	ld.param.u64 	%rd7, [kvfs_matrix_product_param_0];
	ld.param.u64 	%rd8, [kvfs_matrix_product_param_1];
	ld.param.u64 	%rd9, [kvfs_matrix_product_param_2];
	ld.param.u32 	%r10, [kvfs_matrix_product_param_3];
	mov.u32 	%r11, %ctaid.y;
	shl.b32 	%r12, %r11, 4;
	mov.u32 	%r1, %tid.y;
	add.s32 	%r13, %r12, %r1;
	mov.u32 	%r14, %ctaid.x;
	shl.b32 	%r15, %r14, 4;
	mov.u32 	%r2, %tid.x;
	add.s32 	%r3, %r15, %r2;
	cvt.u64.u32 	%rd1, %r10;
	mul.wide.u32 	%rd2, %r10, %r13;
	setp.eq.s32 	%p1, %r10, 0;
	@%p1 bra 	$L__BB0_3;
	cvt.u64.u32 	%rd10, %r2;
	add.s64 	%rd3, %rd2, %rd10;
	shl.b32 	%r17, %r1, 6;
	mov.u32 	%r18, _ZZ19kvfs_matrix_productE4of_a;
	add.s32 	%r6, %r18, %r17;
	shl.b32 	%r19, %r2, 2;
	add.s32 	%r4, %r6, %r19;
	cvt.u64.u32 	%rd4, %r3;
	mov.u32 	%r20, _ZZ19kvfs_matrix_productE4of_b;
	add.s32 	%r21, %r20, %r17;
	add.s32 	%r5, %r21, %r19;
	add.s32 	%r7, %r20, %r19;
	cvta.to.global.u64 	%rd5, %rd7;
	cvta.to.global.u64 	%rd6, %rd8;
	mov.f32 	%f56, 0f00000000;
	mov.u32 	%r23, 0;
$L__BB0_2:
	cvt.u64.u32 	%rd11, %r23;
	add.s64 	%rd12, %rd3, %rd11;
	shl.b64 	%rd13, %rd12, 2;
	add.s64 	%rd14, %rd5, %rd13;
	ld.global.f32 	%f5, [%rd14];
	st.shared.f32 	[%r4], %f5;
	add.s32 	%r22, %r23, %r1;
	cvt.u64.u32 	%rd15, %r22;
	mul.lo.s64 	%rd16, %rd15, %rd1;
	add.s64 	%rd17, %rd16, %rd4;
	shl.b64 	%rd18, %rd17, 2;
	add.s64 	%rd19, %rd6, %rd18;
	ld.global.f32 	%f6, [%rd19];
	st.shared.f32 	[%r5], %f6;
	bar.sync 	0;
	ld.shared.f32 	%f7, [%r7];
	ld.shared.f32 	%f8, [%r6];
	fma.rn.f32 	%f9, %f8, %f7, %f56;
	ld.shared.f32 	%f10, [%r7+64];
	ld.shared.f32 	%f11, [%r6+4];
	fma.rn.f32 	%f12, %f11, %f10, %f9;
	ld.shared.f32 	%f13, [%r7+128];
	ld.shared.f32 	%f14, [%r6+8];
	fma.rn.f32 	%f15, %f14, %f13, %f12;
	ld.shared.f32 	%f16, [%r7+192];
	ld.shared.f32 	%f17, [%r6+12];
	fma.rn.f32 	%f18, %f17, %f16, %f15;
	ld.shared.f32 	%f19, [%r7+256];
	ld.shared.f32 	%f20, [%r6+16];
	fma.rn.f32 	%f21, %f20, %f19, %f18;
	ld.shared.f32 	%f22, [%r7+320];
	ld.shared.f32 	%f23, [%r6+20];
	fma.rn.f32 	%f24, %f23, %f22, %f21;
	ld.shared.f32 	%f25, [%r7+384];
	ld.shared.f32 	%f26, [%r6+24];
	fma.rn.f32 	%f27, %f26, %f25, %f24;
	ld.shared.f32 	%f28, [%r7+448];
	ld.shared.f32 	%f29, [%r6+28];
	fma.rn.f32 	%f30, %f29, %f28, %f27;
	ld.shared.f32 	%f31, [%r7+512];
	ld.shared.f32 	%f32, [%r6+32];
	fma.rn.f32 	%f33, %f32, %f31, %f30;
	ld.shared.f32 	%f34, [%r7+576];
	ld.shared.f32 	%f35, [%r6+36];
	fma.rn.f32 	%f36, %f35, %f34, %f33;
	ld.shared.f32 	%f37, [%r7+640];
	ld.shared.f32 	%f38, [%r6+40];
	fma.rn.f32 	%f39, %f38, %f37, %f36;
	ld.shared.f32 	%f40, [%r7+704];
	ld.shared.f32 	%f41, [%r6+44];
	fma.rn.f32 	%f42, %f41, %f40, %f39;
	ld.shared.f32 	%f43, [%r7+768];
	ld.shared.f32 	%f44, [%r6+48];
	fma.rn.f32 	%f45, %f44, %f43, %f42;
	ld.shared.f32 	%f46, [%r7+832];
	ld.shared.f32 	%f47, [%r6+52];
	fma.rn.f32 	%f48, %f47, %f46, %f45;
	ld.shared.f32 	%f49, [%r7+896];
	ld.shared.f32 	%f50, [%r6+56];
	fma.rn.f32 	%f51, %f50, %f49, %f48;
	ld.shared.f32 	%f52, [%r7+960];
	ld.shared.f32 	%f53, [%r6+60];
	fma.rn.f32 	%f56, %f53, %f52, %f51;
	bar.sync 	0;
	add.s32 	%r23, %r23, 16;
	setp.lt.u32 	%p2, %r23, %r10;
	@%p2 bra 	$L__BB0_2;
	bra.uni 	$L__BB0_4;
$L__BB0_3:
	mov.f32 	%f56, 0f00000000;
$L__BB0_4:
	cvt.u64.u32 	%rd20, %r3;
	add.s64 	%rd21, %rd2, %rd20;
	cvta.to.global.u64 	%rd22, %rd9;
	shl.b64 	%rd23, %rd21, 2;
	add.s64 	%rd24, %rd22, %rd23;
	st.global.f32 	[%rd24], %f56;
	ret;
}
)ptx";
}  // namespace kvfs::gpu_check
