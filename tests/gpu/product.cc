#include "tests/gpu/product.h"

#include <dlfcn.h>

#include <cmath>
#include <cstdlib>
#include <vector>

#include "tests/gpu/matrix_ptx.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

constexpr unsigned kTile = 16;
constexpr float kOfA = 0.5F;
constexpr float kOfB = 0.25F;

std::uint64_t bytes_of(unsigned order, std::size_t each) {
    return std::uint64_t{order} * order * each;
}

// Of cuBLAS, as its header has them.
constexpr int kBf16 = 14;           // CUDA_R_16BF
constexpr int kCompute32f = 68;     // CUBLAS_COMPUTE_32F
constexpr int kDefaultMethod = -1;  // CUBLAS_GEMM_DEFAULT
using Handle = struct CublasTag*;
using Create = int(Handle*);
using Destroy = int(Handle);
using SetStream = int(Handle, cuda::Stream);
using Gemm = int(Handle, int, int, int, int, int, const void*, const void*, int, int, const void*,
                 int, int, const void*, void*, int, int, int, int);

}  // namespace

Product::Product(unsigned order)
    : order_(order), a_(bytes_of(order, 4)), b_(bytes_of(order, 4)), c_(bytes_of(order, 4)) {
    const RawGpu& gpu = RawGpu::get();
    gpu.expect("cuModuleLoadData", gpu.cuModuleLoadData(&module_, kMatrixPtx));
    gpu.expect("cuModuleGetFunction",
               gpu.cuModuleGetFunction(&kernel_, module_, "kvfs_matrix_product"));
    const std::vector<float> all_a(std::size_t{order} * order, kOfA);
    const std::vector<float> all_b(std::size_t{order} * order, kOfB);
    put(a_.at(), std::as_bytes(std::span(all_a)));
    put(b_.at(), std::as_bytes(std::span(all_b)));
    c_.fill(0xff);  // no number
}

Product::~Product() { RawGpu::get().cuModuleUnload(module_); }

void Product::run(const RawStream& stream, int times) const {
    const RawGpu& gpu = RawGpu::get();
    cuda::DevicePointer a = a_.at(), b = b_.at(), c = c_.at();
    std::uint32_t order = order_;
    void* parameters[] = {&a, &b, &c, &order};
    for (int i = 0; i < times; ++i)
        gpu.expect("cuLaunchKernel",
                   gpu.cuLaunchKernel(kernel_, order_ / kTile, order_ / kTile, 1, kTile, kTile, 1,
                                      0, stream.get(), parameters, nullptr));
}

std::string Product::find_fault() const {
    std::vector<float> got(std::size_t{order_} * order_);
    fetch(std::as_writable_bytes(std::span(got)), c_.at());
    const float wanted = kOfA * kOfB * static_cast<float>(order_);
    for (std::size_t i = 0; i < got.size(); ++i)
        if (!(std::fabs(got[i] - wanted) <= wanted / 1000))
            return "element " + std::to_string(i) + " is " + std::to_string(got[i]) + ", not " +
                   std::to_string(wanted);
    return "";
}

struct BlasProduct::Library {
    Handle handle = nullptr;
    Destroy* destroy = nullptr;
    SetStream* set_stream = nullptr;
    Gemm* gemm = nullptr;
    ~Library() {
        if (handle != nullptr) destroy(handle);
    }
};

std::unique_ptr<BlasProduct> BlasProduct::open(unsigned order, std::string* why) {
    *why = "it knows no driver but the real one";
    if (const char* other = std::getenv("KVFS_LIBCUDA"); other != nullptr && *other != '\0')
        return nullptr;
    const char* named = std::getenv("KVFS_CUBLAS");
    void* loaded = nullptr;
    for (const char* name : {named != nullptr ? named : "", "libcublas.so.13", "libcublas.so.12",
                             "/usr/local/cuda/lib64/libcublas.so"}) {
        if (loaded == nullptr && *name != '\0') loaded = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    *why = "no libcublas was found; $KVFS_CUBLAS may name one";
    if (loaded == nullptr) return nullptr;
    auto library = std::make_unique<Library>();
    auto* create = reinterpret_cast<Create*>(::dlsym(loaded, "cublasCreate_v2"));
    library->destroy = reinterpret_cast<Destroy*>(::dlsym(loaded, "cublasDestroy_v2"));
    library->set_stream = reinterpret_cast<SetStream*>(::dlsym(loaded, "cublasSetStream_v2"));
    library->gemm = reinterpret_cast<Gemm*>(::dlsym(loaded, "cublasGemmEx"));
    *why = "libcublas lacks a function";
    if (create == nullptr || library->destroy == nullptr || library->set_stream == nullptr ||
        library->gemm == nullptr)
        return nullptr;
    RawGpu::get();  // its context is to be used
    *why = "cublasCreate failed";
    if (create(&library->handle) != 0) return nullptr;
    return std::unique_ptr<BlasProduct>(new BlasProduct(std::move(library), order));
}

BlasProduct::BlasProduct(std::unique_ptr<Library> library, unsigned order)
    : library_(std::move(library)),
      order_(order),
      a_(bytes_of(order, 2)),
      b_(bytes_of(order, 2)),
      c_(bytes_of(order, 2)) {
    // Numbers that are no zeros, and no large ones either.
    a_.fill(0x3c);
    b_.fill(0x3c);
}

BlasProduct::~BlasProduct() = default;

void BlasProduct::run(const RawStream& stream, int times) const {
    const float one = 1, zero = 0;
    const int n = static_cast<int>(order_);
    if (library_->set_stream(library_->handle, stream.get()) != 0)
        throw Failure("cublasSetStream failed");
    for (int i = 0; i < times; ++i) {
        const int status = library_->gemm(
            library_->handle, 0, 0, n, n, n, &one, reinterpret_cast<const void*>(a_.at()), kBf16, n,
            reinterpret_cast<const void*>(b_.at()), kBf16, n, &zero,
            reinterpret_cast<void*>(c_.at()), kBf16, n, kCompute32f, kDefaultMethod);
        if (status != 0) throw Failure("cublasGemmEx: status " + std::to_string(status));
    }
}

}  // namespace kvfs::gpu_check
