// Whether a copy or a kernel that is queued after a stream began to wait for a value gets past it,
// and whether memory can be registered meanwhile, which a load does when its bytes come to lie in a
// slab that is new to the client: if not, an engine's stream must not wait so for what is still to
// be submitted.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "fs/base/clock.h"
#include "tests/gpu/product.h"
#include "tests/gpu/rig.h"
#include "tests/gpu/session.h"

namespace kvfs::gpu_check {
namespace {

constexpr auto kPatience = std::chrono::seconds(3);

/// Does what is queued on `stream` end while another stream waits?
bool ends(const RawGpu& gpu, cuda::Stream stream) {
    cuda::Event event = nullptr;
    gpu.expect("cuEventCreate", gpu.cuEventCreate(&event, cuda::kEventDisableTiming));
    gpu.expect("cuEventRecord", gpu.cuEventRecord(event, stream));
    const Deadline end = Clock::now() + kPatience;
    bool ended = false;
    while (!ended && Clock::now() < end) {
        ended = gpu.cuEventQuery(event) == cuda::kSuccess;
        std::this_thread::yield();
    }
    gpu.cuEventDestroy(event);
    return ended;
}

/// Memory that another thread registers, and gives back before this is destroyed.
class RegisteredElsewhere {
  public:
    RegisteredElsewhere()
        : thread_([this] {
              alignas(4096) static std::array<std::byte, 1 << 20> memory;
              const RawGpu& gpu = RawGpu::get();
              const cuda::Result result = gpu.cuMemHostRegister(
                  memory.data(), memory.size(), cuda::kRegisterPortable | cuda::kRegisterDeviceMap);
              result_ = gpu.error_name(result);
              registered_ = true;
              if (result == cuda::kSuccess) gpu.cuMemHostUnregister(memory.data());
          }) {}
    ~RegisteredElsewhere() { thread_.join(); }
    RegisteredElsewhere(const RegisteredElsewhere&) = delete;
    RegisteredElsewhere& operator=(const RegisteredElsewhere&) = delete;

    /// Whether it comes to be.
    std::string outcome() const {
        for (const Deadline end = Clock::now() + kPatience; !registered_; std::this_thread::yield())
            if (Clock::now() > end) return "is held up";
        return "gets past it: " + result_;
    }

  private:
    std::string result_;
    std::atomic<bool> registered_ = false;
    std::thread thread_;
};

}  // namespace

void ask_about_waits(Session& session) {
    // The hardest case; must be set before the driver begins.
    ::setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1", 1);
    const RawGpu& gpu = RawGpu::get();
    if (gpu.attribute(cuda::kStreamMemoryOperations) != 1)
        return session.tell("waits for a value", "this device has none");
    constexpr std::uint64_t kBytes = 1 << 20;
    const PinnedMemory flag(4096), host(kBytes);
    std::memset(flag.data(), 0, 4096);
    const DeviceMemory memory(kBytes);
    Product product(std::min(session.scale.product_order, 1024U));
    cuda::DevicePointer flag_on_device = 0;
    gpu.expect("cuMemHostGetDevicePointer",
               gpu.cuMemHostGetDevicePointer(&flag_on_device, flag.data(), 0));
    const RawStream waits, works;
    product.run(works, 1);  // loaded before: the loading might wait for the device
    works.sync();
    const cuda::Result queued =
        gpu.cuStreamWaitValue64(waits.get(), flag_on_device, 1, cuda::kWaitValueGreaterEqual);
    session.tell("a stream waits for a value of host memory",
                 queued == cuda::kSuccess ? "taken" : gpu.error_name(queued));
    if (queued != cuda::kSuccess) return;
    gpu.expect("cuMemcpyHtoDAsync",
               gpu.cuMemcpyHtoDAsync(memory.at(), host.data(), kBytes, works.get()));
    const bool copy = ends(gpu, works.get());
    session.tell("a copy on another stream, queued later, with one connection",
                 copy ? "gets past it" : "is held up");
    bool kernel = false;
    if (copy) {
        product.run(works, 1);
        kernel = ends(gpu, works.get());
    }
    session.tell("a kernel likewise", kernel ? "gets past it" : "is held up");
    {
        const RegisteredElsewhere registered;
        session.tell("the registration of memory likewise", registered.outcome());
        reinterpret_cast<volatile std::uint64_t*>(flag.data())[0] = 1;
    }
    waits.sync();
    works.sync();
    session.expect("the stream goes on when the value is there", true);
}

}  // namespace kvfs::gpu_check
