#include "gpumap/cuda_pins.h"

#include <fcntl.h>
#include <sys/file.h>

#include <chrono>
#include <thread>
#include <utility>

#include "fs/base/clock.h"
#include "fs/base/fd.h"

namespace kvfs::gpumap {
namespace {

/// While it lives, no other process registers this memory: where two do so at a time, the kernel
/// may fail one of them with ENOMEM because it moves the pages. A process that keeps the lock for
/// too long is not waited for.
class RegistrationLock {
  public:
    explicit RegistrationLock(int shared) {
        if (shared < 0) return;
        // Opened anew: a lock belongs to an open file, and the one that came over the socket is
        // the daemon's and all other clients' too.
        file_ = UniqueFd(
            ::open(("/proc/self/fd/" + std::to_string(shared)).c_str(), O_RDONLY | O_CLOEXEC));
        if (!file_) return;
        const Deadline end = deadline_after(std::chrono::seconds(10));
        while (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0 && Clock::now() < end)
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }

  private:
    UniqueFd file_;  ///< the lock goes with it
};

}  // namespace

CudaPins::CudaPins(std::shared_ptr<const CudaPrimary> primary)
    : primary_(std::move(primary)),
      read_only_supported_(primary_->attribute(cuda::kReadOnlyHostRegisterSupported) != 0) {}

Pin CudaPins::pin(std::span<std::byte> memory, bool writable, int shared) {
    unsigned flags = cuda::kRegisterPortable | cuda::kRegisterDeviceMap;
    if (!writable && read_only_supported_) flags |= cuda::kRegisterReadOnly;
    cuda::Result result = cuda::kNotSupported;
    // Without the flag, the driver wants memory that can be written.
    if (writable || read_only_supported_) {
        const RegistrationLock lock(shared);
        result = add(memory, flags);
    }
    if (result == cuda::kSuccess) {
        return Pin(memory.data(), [self = shared_from_this()](void* its_memory) {
            self->remove(static_cast<std::byte*>(its_memory));
        });
    }
    MutexLock lock(mutex_);
    refused_bytes_ += memory.size();
    refused_why_ = primary_->driver().error("cuMemHostRegister", result).what;
    return {};
}

cuda::Result CudaPins::add(std::span<std::byte> memory, unsigned flags) {
    const CudaDriver& driver = primary_->driver();
    const CudaPrimary::Current current(*primary_);
    cuda::Result result = driver.cuMemHostRegister(memory.data(), memory.size(), flags);
    if (result != cuda::kSuccess) return result;
    Pinned pinned{memory.data(), memory.size(), 0, 0};
    result = driver.cuMemHostGetDevicePointer(&pinned.on_device, memory.data(), 0);
    if (result != cuda::kSuccess) {
        driver.cuMemHostUnregister(memory.data());
        return result;
    }
    MutexLock lock(mutex_);
    pinned.number = next_number_++;
    pinned_[memory.data()] = pinned;
    return result;
}

void CudaPins::remove(std::byte* memory) {
    {
        MutexLock lock(mutex_);
        pinned_.erase(memory);
    }
    const CudaPrimary::Current current(*primary_);
    primary_->driver().cuMemHostUnregister(memory);
}

const CudaPins::Pinned* CudaPins::find(const std::byte* memory) const {
    auto after = pinned_.upper_bound(const_cast<std::byte*>(memory));
    if (after == pinned_.begin()) return nullptr;
    const Pinned& pinned = (--after)->second;
    return memory < pinned.memory + pinned.bytes ? &pinned : nullptr;
}

std::vector<LocatedCopy> CudaPins::locate(std::span<const Copy> copies) const {
    std::vector<LocatedCopy> located;
    located.reserve(copies.size());
    MutexLock lock(mutex_);
    const Pinned* last = nullptr;
    for (const Copy& copy : copies) {
        const bool same =
            last != nullptr && copy.host >= last->memory && copy.host < last->memory + last->bytes;
        if (!same) last = find(copy.host);
        if (last == nullptr)
            located.push_back({copy, 0, 0});
        else
            located.push_back(
                {copy, last->number,
                 last->on_device + static_cast<std::uint64_t>(copy.host - last->memory)});
    }
    return located;
}

cuda::DevicePointer CudaPins::address(const std::byte* memory) const {
    MutexLock lock(mutex_);
    const Pinned* pinned = find(memory);
    if (pinned == nullptr) return 0;
    return pinned->on_device + static_cast<std::uint64_t>(memory - pinned->memory);
}

std::string CudaPins::refusals() const {
    MutexLock lock(mutex_);
    if (refused_bytes_ == 0) return {};
    return std::to_string(refused_bytes_ >> 20) + " MiB not registered (" + refused_why_ + ")";
}

}  // namespace kvfs::gpumap
