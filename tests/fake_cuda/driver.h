#pragma once
#include <sys/types.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gpumap/cuda_abi.h"

/// A CUDA driver without a device: its memory is this process's, its streams are threads. It is
/// stricter than a real one where that shows a mistake, and what it can do wrong is set by knobs,
/// in $FAKE_CUDA and by fake_cuda_control(): "delay_us=100,fail=cuMemcpyHtoDAsync:2".
namespace fake_cuda {

namespace cuda = kvfs::gpumap::cuda;

struct Knobs {
    std::uint32_t delay_us = 0;   ///< before each copy or kernel
    std::uint32_t jitter_us = 0;  ///< up to so much more: streams overtake each other
    bool reverse = false;         ///< batches are copied from their end
    bool poison = false;          ///< destinations are overwritten when a copy is queued
    bool read_only = true;        ///< memory that cannot be written can be registered
    std::uint64_t register_max = 512ULL << 30;  ///< bytes of one registration: fails from there on
    std::uint64_t register_total = 1ULL << 50;  ///< bytes of all
    std::uint64_t memory = 1ULL << 50;          ///< bytes of the device
    std::string missing;                        ///< a function that is not there
    int version = 13000;
    bool batch = true;  ///< cuMemcpyBatchAsync is there, as far as the version has it
    int devices = 1;
    cuda::Result init = cuda::kSuccess;
    bool module = true;           ///< the kernels are taken
    std::string fail;             ///< this function
    std::uint64_t fail_call = 0;  ///< fails at this call of it, from 1; 0: at each
    cuda::Result fail_with = cuda::kLaunchFailed;
    std::uint64_t fail_work = 0;  ///< this piece of queued work fails, from 1, and all after it
    std::uint64_t damage = 0;     ///< each so-manieth piece of work writes a wrong byte; 0: none
    std::string crash;            ///< this function ends the process
    bool strict = false;          ///< a complaint ends the process
};

/// Work in order, on a thread of its own.
struct Stream {
    std::deque<std::function<void()>> work;
    bool busy = false;
    bool ending = false;
    std::thread thread;
};

struct Event {
    std::uint64_t recorded = 0;   ///< times
    std::uint64_t completed = 0;  ///< the last of these that its stream has reached
};

/// Memory that copies may name, and how many that are queued do.
struct Memory {
    std::byte* start = nullptr;
    std::size_t bytes = 0;
    bool on_device = false;
    bool read_only = false;
    std::size_t in_use = 0;
};

class Driver {
  public:
    static Driver& instance();

    Driver();
    void control(const std::string& knobs);
    /// Counts a call; what it is to return at once, or kSuccess.
    cuda::Result call(const char* name);
    std::uint64_t calls(const std::string& name);
    Knobs knobs();
    void complain(const std::string& about);
    std::uint64_t complaints(std::string* last);
    cuda::Result init();

    // Memory.
    cuda::Result allocate(cuda::DevicePointer* memory, std::size_t bytes);
    cuda::Result free(cuda::DevicePointer memory);
    cuda::Result add_host(std::byte* start, std::size_t bytes, unsigned flags);
    cuda::Result remove_host(std::byte* start);
    cuda::Result allocate_host(void** memory, std::size_t bytes);
    cuda::Result free_host(void* memory);
    std::uint64_t registered_bytes();

    // Streams and events.
    std::shared_ptr<Stream> new_stream();
    cuda::Result end_stream(cuda::Stream handle);
    std::shared_ptr<Stream> find(cuda::Stream handle);
    cuda::Result synchronize(cuda::Stream handle);
    Event* new_event();
    cuda::Result end_event(Event* event);
    cuda::Result record(Event* event, cuda::Stream handle);
    cuda::Result wait(cuda::Stream handle, Event* event);
    cuda::Result query(Event* event);

    struct Copy {
        std::byte* to = nullptr;
        const std::byte* from = nullptr;
        std::size_t bytes = 0;
    };
    enum class Host { any, registered };
    /// Queues copies between one host and one device memory each.
    cuda::Result copy(cuda::Stream handle, std::vector<Copy> copies, bool to_device, Host host);
    /// Queues libgpumap's kernel over a list of (from, to, bytes).
    cuda::Result launch(cuda::Stream handle, const std::byte* list, std::uint32_t count);
    /// Queues gpu-check's kernel: a product of matrices.
    cuda::Result multiply(cuda::Stream handle, const float* a, const float* b, float* c,
                          std::uint32_t order);
    cuda::Result fill(cuda::Stream handle, std::byte* to, unsigned char value, std::size_t bytes);
    /// What is queued from now on waits until the word in host memory is at least that.
    cuda::Result wait_for_value(cuda::Stream handle, cuda::DevicePointer word, std::uint64_t value);

  private:
    using Lock = std::unique_lock<std::mutex>;
    using Hold = std::vector<Memory*>;

    void set(const std::string& name, const std::string& value);
    Memory* memory_at(const std::byte* start, std::size_t bytes, bool on_device, bool* crosses);
    cuda::Result hold(const Copy& copy, bool to_device, Host host, Hold& held, bool* pageable);
    bool enqueue(cuda::Stream handle, std::function<void()> work);
    cuda::Result queue(cuda::Stream handle, std::vector<std::pair<const void*, std::size_t>> uses,
                       std::function<void()> body);
    void do_work(const std::function<void()>& body, const Hold& held, std::byte* to);
    void serve(Stream& stream);

    std::mutex mutex_;
    std::condition_variable changed_;
    const pid_t process_;
    Knobs knobs_;
    std::map<std::string, std::uint64_t> calls_;
    std::uint64_t calls_to_fail_ = 0;
    std::uint64_t complaints_ = 0;
    std::string last_complaint_;
    std::uint64_t work_done_ = 0;
    bool broken_ = false;
    std::map<std::byte*, Memory> memory_;
    std::uint64_t allocated_ = 0;
    std::map<Stream*, std::shared_ptr<Stream>> streams_;
    std::once_flag default_stream_made_;
    std::shared_ptr<Stream> default_stream_;
    std::map<Event*, std::shared_ptr<Event>> events_;
};

/// What cuMemHostGetDevicePointer gives is not the host's address: who mixes them up is found out.
inline constexpr std::uint64_t kDeviceView = 1ULL << 48;

}  // namespace fake_cuda
