#include "tools/bench_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <thread>

#include "fs/base/clock.h"
#include "tools/block.h"
#include "tools/mount.h"
#include "tools/replay_run.h"
#include "tools/verb.h"

namespace kvfs {

double time_of(const std::function<void()>& work) {
    const auto start = Clock::now();
    work();
    return std::chrono::duration<double>(Clock::now() - start).count();
}

double time_of_threads(unsigned threads, const std::function<void(unsigned)>& work) {
    if (threads == 1) return time_of([&] { work(0); });
    std::vector<std::exception_ptr> failures(threads);
    const double seconds = time_of([&] {
        std::vector<std::thread> running;
        for (unsigned i = 0; i < threads; ++i)
            running.emplace_back([&, i] {
                try {
                    work(i);
                } catch (...) {
                    failures[i] = std::current_exception();
                }
            });
        for (std::thread& thread : running) thread.join();
    });
    for (const std::exception_ptr& failure : failures)
        if (failure) std::rethrow_exception(failure);
    return seconds;
}

std::vector<double> latencies_us(unsigned threads, unsigned calls,
                                 const std::function<void(unsigned)>& work) {
    std::vector<double> us(std::size_t{threads} * calls);
    time_of_threads(threads, [&](unsigned thread) {
        for (unsigned call = 0; call < calls; ++call)
            us[std::size_t{thread} * calls + call] = 1e6 * time_of([&] { work(thread); });
    });
    std::sort(us.begin(), us.end());
    return {percentile(us, 50), percentile(us, 99)};
}

double gb_per_s(std::uint64_t bytes, double seconds) {
    return static_cast<double>(bytes) / 1e9 / seconds;
}

std::uint64_t read_file(const std::string& path, std::span<std::byte> buffer) {
    const UniqueFd fd = open_file(path, O_RDONLY);
    std::uint64_t total = 0;
    for (;;) {
        const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
        if (got < 0) throw Failure(errno_error(path));
        if (got == 0) return total;
        total += static_cast<std::uint64_t>(got);
    }
}

void write_file(const std::string& path, std::uint64_t bytes, std::span<const std::byte> buffer) {
    UniqueFd fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
    while (bytes > 0) {
        const std::size_t piece = std::min<std::uint64_t>(bytes, buffer.size());
        const ssize_t put = ::write(fd.get(), buffer.data(), piece);
        if (put < 0) throw Failure(errno_error(path));
        bytes -= static_cast<std::uint64_t>(put);
    }
    if (::close(fd.release()) != 0) throw Failure(errno_error(path));
}

void sync_file(const std::string& path) {
    const UniqueFd fd = open_file(path, O_RDONLY);
    if (::fsync(fd.get()) != 0) throw Failure(errno_error(path));
}

UniqueFd open_file(const std::string& path, int flags) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0644));
    if (!fd) throw Failure(errno_error(path));
    return fd;
}

void remove_file(const std::string& path) {
    if (::unlink(path.c_str()) != 0) throw Failure(errno_error(path));
}

std::uint64_t resident_bytes(const std::string& path) {
    const Result<std::string> text = read_xattr(path, "user.kvfs.resident");
    if (!text) throw Failure(text.error());
    return std::stoull(*text);
}

Mapping touched_memory(std::size_t bytes) {
    Result<Mapping> memory = Mapping::anonymous(bytes);
    if (!memory) throw Failure(memory.error());
    fill_block(1, memory->bytes());
    return std::move(*memory);
}

std::string numbered(const std::string& prefix, std::uint64_t number) {
    return prefix + std::to_string(number);
}

std::vector<double> read_pages(const std::string& path, std::uint64_t file_bytes, unsigned threads,
                               unsigned calls) {
    constexpr std::size_t kPage = 4096;
    struct Reader {
        UniqueFd file;
        Mapping page = touched_memory(kPage);
        std::uint64_t calls = 0;
    };
    std::vector<Reader> readers(threads);
    for (Reader& reader : readers) reader.file = open_file(path, O_RDONLY);
    return latencies_us(threads, calls, [&](unsigned thread) {
        Reader& reader = readers[thread];
        const std::uint64_t page = mix(thread, reader.calls++) % (file_bytes / kPage);
        if (::pread(reader.file.get(), reader.page.data(), kPage,
                    static_cast<off_t>(page * kPage)) != static_cast<ssize_t>(kPage))
            throw Failure(errno_error(path));
    });
}

}  // namespace kvfs
