// Made from kernels.cu (2475714216 2034) by `make ptx`; not to be edited.
#pragma once
namespace kvfs::gpumap {
inline constexpr const char kKernelsPtx[] = R"ptx(
.version 7.4
.target sm_75
.address_size 64
.visible .entry kvfs_copy_pieces(
	.param .u64 kvfs_copy_pieces_param_0,
	.param .u32 kvfs_copy_pieces_param_1
)
{
	.reg .pred 	%p<19>;
	.reg .b16 	%rs<8>;
	.reg .b32 	%r<54>;
	.reg .b64 	%rd<94>;
	ld.param.u64 	%rd29, [kvfs_copy_pieces_param_0];
	ld.param.u32 	%r5, [kvfs_copy_pieces_param_1];
	mov.u32 	%r53, %ctaid.x;
	setp.ge.u32 	%p1, %r53, %r5;
	@%p1 bra 	$L__BB0_24;
	mov.u32 	%r6, %ntid.x;
	cvt.u64.u32 	%rd1, %r6;
	mov.u32 	%r7, %tid.x;
	cvt.u64.u32 	%rd2, %r7;
	mul.wide.u32 	%rd3, %r6, 3;
	add.s64 	%rd4, %rd3, %rd2;
	mov.u32 	%r2, %nctaid.x;
	mul.wide.u32 	%rd5, %r6, 16;
	mul.wide.u32 	%rd6, %r6, 4;
	cvta.to.global.u64 	%rd7, %rd29;
$L__BB0_2:
	mul.wide.u32 	%rd30, %r53, 24;
	add.s64 	%rd31, %rd7, %rd30;
	ld.global.u64 	%rd8, [%rd31+16];
	ld.global.u64 	%rd9, [%rd31+8];
	ld.global.u64 	%rd10, [%rd31];
	or.b64  	%rd11, %rd9, %rd10;
	and.b64  	%rd32, %rd11, 15;
	setp.eq.s64 	%p2, %rd32, 0;
	@%p2 bra 	$L__BB0_16;
	and.b64  	%rd33, %rd11, 3;
	setp.eq.s64 	%p3, %rd33, 0;
	@%p3 bra 	$L__BB0_9;
	setp.ge.u64 	%p4, %rd4, %rd8;
	mov.u64 	%rd86, %rd2;
	@%p4 bra 	$L__BB0_7;
	mov.u64 	%rd86, %rd2;
$L__BB0_6:
	add.s64 	%rd34, %rd10, %rd86;
	ld.u8 	%rs1, [%rd34];
	add.s64 	%rd35, %rd34, %rd1;
	ld.u8 	%rs2, [%rd35];
	add.s64 	%rd36, %rd35, %rd1;
	ld.u8 	%rs3, [%rd36];
	add.s64 	%rd37, %rd36, %rd1;
	ld.u8 	%rs4, [%rd37];
	add.s64 	%rd38, %rd9, %rd86;
	st.u8 	[%rd38], %rs1;
	add.s64 	%rd39, %rd38, %rd1;
	st.u8 	[%rd39], %rs2;
	add.s64 	%rd40, %rd39, %rd1;
	st.u8 	[%rd40], %rs3;
	add.s64 	%rd41, %rd40, %rd1;
	st.u8 	[%rd41], %rs4;
	add.s64 	%rd42, %rd86, %rd1;
	add.s64 	%rd86, %rd3, %rd42;
	add.s64 	%rd43, %rd86, %rd3;
	setp.lt.u64 	%p5, %rd43, %rd8;
	@%p5 bra 	$L__BB0_6;
$L__BB0_7:
	setp.ge.u64 	%p6, %rd86, %rd8;
	@%p6 bra 	$L__BB0_23;
$L__BB0_8:
	add.s64 	%rd44, %rd10, %rd86;
	ld.u8 	%rs5, [%rd44];
	add.s64 	%rd45, %rd9, %rd86;
	st.u8 	[%rd45], %rs5;
	add.s64 	%rd86, %rd86, %rd1;
	setp.lt.u64 	%p7, %rd86, %rd8;
	@%p7 bra 	$L__BB0_8;
	bra.uni 	$L__BB0_23;
$L__BB0_16:
	shr.u64 	%rd23, %rd8, 4;
	setp.ge.u64 	%p13, %rd4, %rd23;
	mov.u64 	%rd92, %rd2;
	@%p13 bra 	$L__BB0_19;
	mov.u64 	%rd92, %rd2;
$L__BB0_18:
	shl.b64 	%rd65, %rd92, 4;
	add.s64 	%rd66, %rd10, %rd65;
	shl.b64 	%rd67, %rd1, 2;
	shl.b64 	%rd68, %rd1, 4;
	add.s64 	%rd69, %rd66, %rd68;
	ld.v4.u32 	{%r13, %r14, %r15, %r16}, [%rd69];
	add.s64 	%rd70, %rd69, %rd5;
	ld.v4.u32 	{%r21, %r22, %r23, %r24}, [%rd70];
	add.s64 	%rd71, %rd70, %rd5;
	ld.v4.u32 	{%r29, %r30, %r31, %r32}, [%rd71];
	add.s64 	%rd72, %rd9, %rd65;
	ld.v4.u32 	{%r37, %r38, %r39, %r40}, [%rd66];
	st.v4.u32 	[%rd72], {%r37, %r38, %r39, %r40};
	add.s64 	%rd73, %rd72, %rd5;
	st.v4.u32 	[%rd73], {%r13, %r14, %r15, %r16};
	add.s64 	%rd74, %rd73, %rd5;
	st.v4.u32 	[%rd74], {%r21, %r22, %r23, %r24};
	add.s64 	%rd75, %rd74, %rd5;
	st.v4.u32 	[%rd75], {%r29, %r30, %r31, %r32};
	add.s64 	%rd92, %rd67, %rd92;
	add.s64 	%rd76, %rd92, %rd3;
	setp.lt.u64 	%p14, %rd76, %rd23;
	@%p14 bra 	$L__BB0_18;
$L__BB0_19:
	setp.ge.u64 	%p15, %rd92, %rd23;
	@%p15 bra 	$L__BB0_21;
$L__BB0_20:
	shl.b64 	%rd77, %rd92, 4;
	add.s64 	%rd78, %rd9, %rd77;
	add.s64 	%rd79, %rd10, %rd77;
	ld.v4.u32 	{%r45, %r46, %r47, %r48}, [%rd79];
	st.v4.u32 	[%rd78], {%r45, %r46, %r47, %r48};
	add.s64 	%rd92, %rd92, %rd1;
	setp.lt.u64 	%p16, %rd92, %rd23;
	@%p16 bra 	$L__BB0_20;
$L__BB0_21:
	and.b64  	%rd80, %rd8, 15;
	setp.le.u64 	%p17, %rd80, %rd2;
	@%p17 bra 	$L__BB0_23;
	and.b64  	%rd81, %rd8, -16;
	add.s64 	%rd82, %rd81, %rd2;
	add.s64 	%rd83, %rd10, %rd82;
	ld.u8 	%rs7, [%rd83];
	add.s64 	%rd84, %rd9, %rd82;
	st.u8 	[%rd84], %rs7;
	bra.uni 	$L__BB0_23;
$L__BB0_9:
	shr.u64 	%rd17, %rd8, 2;
	setp.ge.u64 	%p8, %rd4, %rd17;
	mov.u64 	%rd89, %rd2;
	@%p8 bra 	$L__BB0_12;
	mov.u64 	%rd89, %rd2;
$L__BB0_11:
	shl.b64 	%rd46, %rd89, 2;
	add.s64 	%rd47, %rd10, %rd46;
	ld.u32 	%r8, [%rd47];
	add.s64 	%rd48, %rd47, %rd6;
	ld.u32 	%r9, [%rd48];
	add.s64 	%rd49, %rd48, %rd6;
	ld.u32 	%r10, [%rd49];
	add.s64 	%rd50, %rd49, %rd6;
	ld.u32 	%r11, [%rd50];
	add.s64 	%rd51, %rd9, %rd46;
	st.u32 	[%rd51], %r8;
	add.s64 	%rd52, %rd51, %rd6;
	st.u32 	[%rd52], %r9;
	add.s64 	%rd53, %rd52, %rd6;
	st.u32 	[%rd53], %r10;
	add.s64 	%rd54, %rd53, %rd6;
	st.u32 	[%rd54], %r11;
	add.s64 	%rd55, %rd89, %rd1;
	add.s64 	%rd89, %rd3, %rd55;
	add.s64 	%rd56, %rd89, %rd3;
	setp.lt.u64 	%p9, %rd56, %rd17;
	@%p9 bra 	$L__BB0_11;
$L__BB0_12:
	setp.ge.u64 	%p10, %rd89, %rd17;
	@%p10 bra 	$L__BB0_14;
$L__BB0_13:
	shl.b64 	%rd57, %rd89, 2;
	add.s64 	%rd58, %rd10, %rd57;
	ld.u32 	%r12, [%rd58];
	add.s64 	%rd59, %rd9, %rd57;
	st.u32 	[%rd59], %r12;
	add.s64 	%rd89, %rd89, %rd1;
	setp.lt.u64 	%p11, %rd89, %rd17;
	@%p11 bra 	$L__BB0_13;
$L__BB0_14:
	and.b64  	%rd60, %rd8, 3;
	setp.le.u64 	%p12, %rd60, %rd2;
	@%p12 bra 	$L__BB0_23;
	and.b64  	%rd61, %rd8, -4;
	add.s64 	%rd62, %rd61, %rd2;
	add.s64 	%rd63, %rd10, %rd62;
	ld.u8 	%rs6, [%rd63];
	add.s64 	%rd64, %rd9, %rd62;
	st.u8 	[%rd64], %rs6;
$L__BB0_23:
	add.s32 	%r53, %r53, %r2;
	setp.lt.u32 	%p18, %r53, %r5;
	@%p18 bra 	$L__BB0_2;
$L__BB0_24:
	ret;
}
)ptx";
}  // namespace kvfs::gpumap
