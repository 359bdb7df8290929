// The one kernel of libgpumap: copies pieces, each from anywhere to anywhere that the device can
// reach. Scatters what lies in device staging memory, and gathers what lies scattered in pinned
// host memory. `make ptx` compiles it into kernels_ptx.h.

#include <stdint.h>

// As CudaKernels::Piece.
struct Piece {
    uint64_t from;
    uint64_t to;
    uint64_t bytes;
};

namespace {

// Four loads a thread are in flight before the first is stored: over the bus, the width of the
// window is what makes the speed.
template <typename Word>
__device__ void copy_words(const Word* from, Word* to, uint64_t words) {
    const uint64_t step = blockDim.x;
    uint64_t at = threadIdx.x;
    for (; at + 3 * step < words; at += 4 * step) {
        const Word a = from[at];
        const Word b = from[at + step];
        const Word c = from[at + 2 * step];
        const Word d = from[at + 3 * step];
        to[at] = a;
        to[at + step] = b;
        to[at + 2 * step] = c;
        to[at + 3 * step] = d;
    }
    for (; at < words; at += step) to[at] = from[at];
}

template <typename Word>
__device__ void copy_piece(const Piece& piece) {
    const uint64_t words = piece.bytes / sizeof(Word);
    const uint64_t rest = piece.bytes % sizeof(Word);
    copy_words(reinterpret_cast<const Word*>(piece.from), reinterpret_cast<Word*>(piece.to), words);
    if (threadIdx.x < rest) {
        const uint64_t at = words * sizeof(Word) + threadIdx.x;
        reinterpret_cast<uint8_t*>(piece.to)[at] = reinterpret_cast<const uint8_t*>(piece.from)[at];
    }
}

}  // namespace

extern "C" __global__ void kvfs_copy_pieces(const Piece* pieces, uint32_t count) {
    for (uint32_t i = blockIdx.x; i < count; i += gridDim.x) {
        const Piece piece = pieces[i];
        const uint64_t misaligned = piece.from | piece.to;
        if (misaligned % 16 == 0)
            copy_piece<uint4>(piece);
        else if (misaligned % 4 == 0)
            copy_piece<uint32_t>(piece);
        else
            copy_piece<uint8_t>(piece);
    }
}
