#include "gpumap/cuda_device.h"

#include <cerrno>
#include <utility>

namespace kvfs::gpumap {
namespace {

Error no_stream() {
    return {EINVAL,
            "the stream is NULL: CUDA's default stream has the handle 1 (CU_STREAM_LEGACY)"};
}

cuda::Stream as_cuda(gm_stream stream) { return static_cast<cuda::Stream>(stream); }

}  // namespace

CudaDevice::CudaDevice(std::shared_ptr<const CudaPrimary> primary, CudaOptions options)
    : primary_(std::move(primary)),
      driver_(primary_->driver()),
      options_(options),
      pins_(std::make_shared<CudaPins>(primary_)) {}

Result<std::unique_ptr<CudaDevice>> CudaDevice::create(std::int32_t ordinal, CudaOptions options) {
    auto primary = CudaPrimary::retain(ordinal);
    if (!primary) return primary.error();
    std::unique_ptr<CudaDevice> device(new CudaDevice(std::move(*primary), options));
    if (Status opened = device->open(); !opened) return opened.error();
    return device;
}

Status CudaDevice::open() {
    const CudaPrimary::Current current(*primary_);
    for (cuda::Stream* stream : {&in_, &out_, &kernel_stream_, &sync_}) {
        auto made = new_stream(true);
        if (!made) return made.error();
        *stream = *made;
    }
    completions_ = std::make_unique<CudaCompletions>(primary_);
    abilities_.batch = driver_.batch_of_13000 != nullptr || driver_.batch_of_12080 != nullptr;
    if (options_.kernels) {
        auto kernels = CudaKernels::create(primary_, *pins_);
        // Copies go without, too.
        if (kernels)
            kernels_ = std::move(*kernels);
        else
            kernels_missing_ = kernels.error().what;
    }
    if (kernels_ != nullptr) {
        abilities_.kernels = true;
        abilities_.stage_bytes = CudaKernels::kSlotBytes;
        abilities_.kernel_pieces = CudaKernels::kPiecesMax;
    }
    if (options_.small_bytes == 0) options_.small_bytes = measure_small_bytes();
    return {};
}

CudaDevice::~CudaDevice() {
    const CudaPrimary::Current current(*primary_);
    completions_.reset();
    MutexLock lock(mutex_);
    for (const gm_stream stream : streams_) {
        driver_.cuStreamSynchronize(as_cuda(stream));
        driver_.cuStreamDestroy(as_cuda(stream));
    }
    for (const cuda::Stream stream : {in_, out_, kernel_stream_, sync_}) {
        if (stream == nullptr) continue;
        driver_.cuStreamSynchronize(stream);
        driver_.cuStreamDestroy(stream);
    }
    kernels_.reset();
    for (const gm_devptr memory : memory_) driver_.cuMemFree(memory);
}

std::string CudaDevice::description() const {
    std::string text = primary_->description();
    if (driver_.batch_of_13000 != nullptr)
        text += ", batches as of 13.0";
    else if (driver_.batch_of_12080 != nullptr)
        text += ", batches as of 12.8";
    else
        text += ", no batches";
    if (kernels_ != nullptr)
        text += ", kernels below " + std::to_string(options_.small_bytes) + " B";
    else
        text += kernels_missing_.empty() ? ", no kernels" : ", no kernels: " + kernels_missing_;
    return text;
}

Result<Pin> CudaDevice::pin(std::span<std::byte> memory, bool writable, int shared) {
    return pins_->pin(memory, writable, shared);
}

Status CudaDevice::wait_for(gm_stream stream, std::span<const Ticket> batches) {
    if (stream == nullptr) return no_stream();
    const CudaPrimary::Current current(*primary_);
    return completions_->make_wait(as_cuda(stream), batches);
}

Result<gm_devptr> CudaDevice::allocate(std::uint64_t bytes) {
    const CudaPrimary::Current current(*primary_);
    cuda::DevicePointer memory = 0;
    if (Status got = driver_.check("cuMemAlloc", driver_.cuMemAlloc(&memory, bytes)); !got)
        return got.error();
    MutexLock lock(mutex_);
    memory_.insert(memory);
    return gm_devptr{memory};
}

Status CudaDevice::free(gm_devptr memory) {
    {
        MutexLock lock(mutex_);
        if (memory_.erase(memory) == 0) return Error{EINVAL, "no memory of gm_device_alloc"};
    }
    const CudaPrimary::Current current(*primary_);
    return driver_.check("cuMemFree", driver_.cuMemFree(memory));
}

Result<cuda::Stream> CudaDevice::new_stream(bool urgent) {
    int least = 0;
    int greatest = 0;
    // Without a range all streams are alike.
    if (driver_.cuCtxGetStreamPriorityRange(&least, &greatest) != cuda::kSuccess)
        least = greatest = 0;
    cuda::Stream stream = nullptr;
    const Status made =
        driver_.check("cuStreamCreateWithPriority",
                      driver_.cuStreamCreateWithPriority(&stream, cuda::kStreamNonBlocking,
                                                         urgent ? greatest : least));
    if (!made) return made.error();
    return stream;
}

Result<gm_stream> CudaDevice::create_stream() {
    const CudaPrimary::Current current(*primary_);
    auto stream = new_stream(false);
    if (!stream) return stream.error();
    MutexLock lock(mutex_);
    streams_.insert(*stream);
    return static_cast<gm_stream>(*stream);
}

Status CudaDevice::destroy_stream(gm_stream stream) {
    {
        MutexLock lock(mutex_);
        if (streams_.erase(stream) == 0) return Error{EINVAL, "no such stream"};
    }
    const CudaPrimary::Current current(*primary_);
    driver_.cuStreamSynchronize(as_cuda(stream));
    return driver_.check("cuStreamDestroy", driver_.cuStreamDestroy(as_cuda(stream)));
}

Status CudaDevice::sync_stream(gm_stream stream) {
    if (stream == nullptr) return no_stream();
    const CudaPrimary::Current current(*primary_);
    return driver_.check("cuStreamSynchronize", driver_.cuStreamSynchronize(as_cuda(stream)));
}

Status CudaDevice::copy(Direction direction, const Copy& copy, gm_stream stream) {
    const CudaPrimary::Current current(*primary_);
    if (stream != nullptr) return enqueue_one(direction, copy, as_cuda(stream));
    if (Status queued = enqueue_one(direction, copy, sync_); !queued) return queued;
    return driver_.check("cuStreamSynchronize", driver_.cuStreamSynchronize(sync_));
}

Status CudaDevice::when_reached(gm_stream stream, std::function<void()> reached) {
    if (stream == nullptr) return no_stream();
    const CudaPrimary::Current current(*primary_);
    auto event = completions_->take_event();
    if (!event) return event.error();
    const Status recorded =
        driver_.check("cuEventRecord", driver_.cuEventRecord(*event, as_cuda(stream)));
    if (!recorded) {
        completions_->give_back(*event);
        return recorded;
    }
    completions_->watch(*event, GM_OK, [reached = std::move(reached)](gm_status) { reached(); });
    return {};
}

}  // namespace kvfs::gpumap
