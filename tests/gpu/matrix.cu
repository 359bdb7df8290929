// A matrix product that keeps the multiprocessors busy, for gpu-check: what do copies cost whoever
// computes meanwhile? Compiled into matrix_ptx.h by `make ptx`.

#include <stdint.h>

namespace {
constexpr unsigned kTile = 16;
}

// c = a * b, square, row by row; `order` is a multiple of 16. Blocks of 16 x 16 threads.
extern "C" __global__ void kvfs_matrix_product(const float* a, const float* b, float* c,
                                               uint32_t order) {
    __shared__ float of_a[kTile][kTile];
    __shared__ float of_b[kTile][kTile];
    const unsigned row = blockIdx.y * kTile + threadIdx.y;
    const unsigned column = blockIdx.x * kTile + threadIdx.x;
    float sum = 0;
    for (unsigned tile = 0; tile < order; tile += kTile) {
        of_a[threadIdx.y][threadIdx.x] = a[static_cast<uint64_t>(row) * order + tile + threadIdx.x];
        of_b[threadIdx.y][threadIdx.x] =
            b[static_cast<uint64_t>(tile + threadIdx.y) * order + column];
        __syncthreads();
        for (unsigned i = 0; i < kTile; ++i) sum += of_a[threadIdx.y][i] * of_b[i][threadIdx.x];
        __syncthreads();
    }
    c[static_cast<uint64_t>(row) * order + column] = sum;
}
