#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "tests/gpu/raw_calls.h"

/// The GPU as a program without libgpumap sees it: the driver by dlopen, the primary context, which
/// libgpumap's contexts share. Everything throws Failure when the driver refuses.
namespace kvfs::gpu_check {

namespace cuda = kvfs::gpumap::cuda;

/// There is no driver or no device: nothing can be checked.
struct NoGpu : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class RawGpu {
  public:
    /// The first device; the same each time. Its context is the calling thread's from now on, for
    /// good. $KVFS_LIBCUDA names another driver, as it does for libgpumap. Throws NoGpu.
    static const RawGpu& get();

#define KVFS_GPU_MEMBER(name, version, ...) cuda::name##Call* name = nullptr;
    KVFS_CUDA_FUNCTIONS(KVFS_GPU_MEMBER)
    KVFS_GPU_CHECK_FUNCTIONS(KVFS_GPU_MEMBER)
#undef KVFS_GPU_MEMBER
    cuda::BatchOf13000* batch_of_13000 = nullptr;
    cuda::BatchOf12080* batch_of_12080 = nullptr;

    int version = 0;  ///< as 13000
    cuda::Device device = 0;

    std::string name() const;
    int attribute(int which) const;
    std::string error_name(cuda::Result result) const;
    /// Throws Failure unless it went well.
    void expect(const char* call, cuda::Result result) const;
    /// cuMemcpyBatchAsync in the version that there is; kNotFound without one.
    cuda::Result batch(cuda::DevicePointer* to, cuda::DevicePointer* from, std::size_t* sizes,
                       std::size_t count, bool to_device, cuda::Stream stream) const;

  private:
    RawGpu();
    cuda::Context context_ = nullptr;
};

class RawStream {
  public:
    RawStream();
    ~RawStream();
    RawStream(const RawStream&) = delete;
    RawStream& operator=(const RawStream&) = delete;
    cuda::Stream get() const { return stream_; }
    void* handle() const { return stream_; }
    void sync() const;

  private:
    cuda::Stream stream_ = nullptr;
};

class DeviceMemory {
  public:
    explicit DeviceMemory(std::uint64_t bytes);
    ~DeviceMemory();
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;
    cuda::DevicePointer at(std::uint64_t offset = 0) const { return start_ + offset; }
    std::uint64_t bytes() const { return bytes_; }
    /// Each of the bytes becomes `value`.
    void fill(unsigned char value) const;

  private:
    cuda::DevicePointer start_ = 0;
    std::uint64_t bytes_;
};

/// Host memory of cuMemHostAlloc: what the fastest copies there are run from.
class PinnedMemory {
  public:
    explicit PinnedMemory(std::uint64_t bytes);
    ~PinnedMemory();
    PinnedMemory(const PinnedMemory&) = delete;
    PinnedMemory& operator=(const PinnedMemory&) = delete;
    std::byte* data() const { return start_; }
    std::span<std::byte> bytes() const { return {start_, bytes_}; }

  private:
    std::byte* start_ = nullptr;
    std::uint64_t bytes_;
};

/// The ceiling: single copies of so many bytes between pinned memory and the device.
class RawCopies {
  public:
    explicit RawCopies(std::uint64_t bytes);
    // GB/s.
    double in();
    double out();
    double both();  ///< sum of both directions at a time

  private:
    std::uint64_t bytes_;
    PinnedMemory host_;
    PinnedMemory host_out_;
    DeviceMemory device_;
    DeviceMemory device_out_;
    RawStream in_;
    RawStream out_;
};

/// Copies to host memory and waits.
void fetch(std::span<std::byte> into, cuda::DevicePointer from);
/// Copies to the device and waits.
void put(cuda::DevicePointer to, std::span<const std::byte> from);

}  // namespace kvfs::gpu_check
