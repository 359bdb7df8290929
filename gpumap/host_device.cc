#include "gpumap/host_device.h"

#include <pthread.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <system_error>
#include <utility>

namespace kvfs::gpumap {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kPageBytes = 4096;

void run(Direction direction, const Copy& copy) {
    auto* device = reinterpret_cast<std::byte*>(copy.device);
    if (direction == Direction::in)
        std::memcpy(device, copy.host, copy.bytes);
    else
        std::memcpy(copy.host, device, copy.bytes);
}

}  // namespace

/// Work in the order in which it came, for one thread or several.
class HostDevice::Queue {
  public:
    void push(std::function<void()> work) {
        {
            MutexLock lock(mutex_);
            work_.push_back(std::move(work));
        }
        // Who is woken finds the lock free.
        changed_.notify_one();
    }

    /// Runs work until finish() was called and nothing is left.
    void serve() {
        MutexLock lock(mutex_);
        for (;;) {
            while (work_.empty() && !finished_) changed_.wait(lock);
            if (work_.empty()) return;
            auto next = std::move(work_.front());
            work_.pop_front();
            lock.unlock();
            next();
            next = nullptr;
            lock.lock();
        }
    }

    void finish() {
        MutexLock lock(mutex_);
        finished_ = true;
        changed_.notify_all();
    }

  private:
    Mutex mutex_;
    CondVar changed_;
    std::deque<std::function<void()>> work_ GUARDED_BY(mutex_);
    bool finished_ GUARDED_BY(mutex_) = false;
};

/// A stream: one queue, one thread.
class HostDevice::Worker {
  public:
    Worker() : thread_([this] { queue_.serve(); }) {
        ::pthread_setname_np(thread_.native_handle(), "gpumap-stream");
    }
    ~Worker() {
        queue_.finish();
        // The last to let go may be work of this very stream.
        if (thread_.get_id() == std::this_thread::get_id())
            thread_.detach();
        else
            thread_.join();
    }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    void push(std::function<void()> work) { queue_.push(std::move(work)); }

  private:
    Queue queue_;
    std::thread thread_;
};

void HostDevice::FreeMemory::operator()(std::byte* memory) const { std::free(memory); }

HostDevice::Options HostDevice::options_from_environment() {
    Options options;
    const char* text = std::getenv("KVFS_HOST_DEVICE");
    if (text == nullptr) return options;
    if (const char* at = std::strstr(text, "copy_delay_us="))
        options.copy_delay_us = static_cast<std::uint32_t>(
            std::strtoul(at + std::strlen("copy_delay_us="), nullptr, 10));
    if (const char* at = std::strstr(text, "fail_batch="))
        options.fail_batch = std::strtoull(at + std::strlen("fail_batch="), nullptr, 10);
    return options;
}

Result<std::unique_ptr<HostDevice>> HostDevice::create(const Options& options) {
    try {
        std::unique_ptr<HostDevice> device(new HostDevice(options));
        for (unsigned i = 0; i < options.copy_threads; ++i) {
            std::thread& copier =
                device->copiers_.emplace_back([queue = device->copies_.get()] { queue->serve(); });
            ::pthread_setname_np(copier.native_handle(), "gpumap-copy");
        }
        return device;
    } catch (const std::system_error& error) {
        return Error{EAGAIN, std::string("threads of the host device: ") + error.what()};
    }
}

HostDevice::HostDevice(const Options& options)
    : options_(options), copies_(std::make_unique<Queue>()) {}

HostDevice::~HostDevice() {
    std::unordered_map<gm_stream, std::shared_ptr<Worker>> streams;
    // Streams may wait for copies; never the reverse.
    copies_->finish();
    for (std::thread& copier : copiers_) copier.join();
    {
        MutexLock lock(mutex_);
        streams.swap(streams_);
    }
    streams.clear();
}

Result<Pin> HostDevice::pin(std::span<std::byte>, bool, int) { return Pin(); }

Ticket HostDevice::submit(Direction direction, std::span<const Copy> copies, Done done) {
    Ticket ticket = 0;
    {
        MutexLock lock(mutex_);
        ticket = ++batches_;
        in_flight_.emplace(ticket, std::make_shared<Gate>());
    }
    const bool fails = ticket == options_.fail_batch;
    copies_->push([this, direction, copies, done = std::move(done), fails, ticket] {
        if (options_.copy_delay_us > 0)
            std::this_thread::sleep_for(std::chrono::microseconds(options_.copy_delay_us));
        if (!fails) {
            for (const Copy& copy : copies) run(direction, copy);
        }
        done(fails ? GM_EDEVICE : GM_OK);
        MutexLock lock(mutex_);
        const auto ended = in_flight_.extract(ticket);
        lock.unlock();
        ended.mapped()->open();
    });
    return ticket;
}

Status HostDevice::wait_for(gm_stream stream, std::span<const Ticket> batches) {
    std::vector<std::shared_ptr<Gate>> gates;
    {
        MutexLock lock(mutex_);
        for (const Ticket batch : batches) {
            const auto found = in_flight_.find(batch);
            if (found != in_flight_.end()) gates.push_back(found->second);
        }
    }
    return enqueue(stream, [gates = std::move(gates)] {
        for (const auto& gate : gates) gate->wait();
    });
}

Result<gm_devptr> HostDevice::allocate(std::uint64_t bytes) {
    const std::size_t alignment = bytes < kPageBytes ? kAlignment : kPageBytes;
    if (bytes > SIZE_MAX - alignment) return Error{ENOMEM, "no such amount of memory"};
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    std::unique_ptr<std::byte, FreeMemory> memory(
        static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
    if (memory == nullptr) return Error{ENOMEM, std::to_string(bytes) + " bytes of host memory"};
    const auto address = reinterpret_cast<gm_devptr>(memory.get());
    MutexLock lock(mutex_);
    memory_.emplace(address, std::move(memory));
    return address;
}

Status HostDevice::free(gm_devptr memory) {
    MutexLock lock(mutex_);
    if (memory_.erase(memory) == 0) return Error{EINVAL, "no memory of gm_device_alloc"};
    return {};
}

Result<gm_stream> HostDevice::create_stream() {
    try {
        auto worker = std::make_shared<Worker>();
        auto* stream = static_cast<gm_stream>(worker.get());
        MutexLock lock(mutex_);
        streams_.emplace(stream, std::move(worker));
        return stream;
    } catch (const std::system_error& error) {
        return Error{EAGAIN, std::string("a thread for a stream: ") + error.what()};
    }
}

Status HostDevice::destroy_stream(gm_stream stream) {
    std::shared_ptr<Worker> worker;
    MutexLock lock(mutex_);
    const auto found = streams_.find(stream);
    if (found == streams_.end()) return Error{EINVAL, "no such stream"};
    worker = std::move(found->second);
    streams_.erase(found);
    lock.unlock();
    return {};
}

Status HostDevice::enqueue(gm_stream stream, std::function<void()> work) {
    MutexLock lock(mutex_);
    const auto found = streams_.find(stream);
    if (found == streams_.end()) return Error{EINVAL, "no such stream"};
    found->second->push(std::move(work));
    return {};
}

Status HostDevice::sync_stream(gm_stream stream) {
    auto reached = std::make_shared<Gate>();
    Status status = enqueue(stream, [reached] { reached->open(); });
    if (status) reached->wait();
    return status;
}

Status HostDevice::copy(Direction direction, const Copy& copy, gm_stream stream) {
    if (stream != nullptr) return enqueue(stream, [direction, copy] { run(direction, copy); });
    run(direction, copy);
    return {};
}

Status HostDevice::when_reached(gm_stream stream, std::function<void()> reached) {
    return enqueue(stream, std::move(reached));
}

}  // namespace kvfs::gpumap
