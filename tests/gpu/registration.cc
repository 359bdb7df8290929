// What it costs to make memory ready for the device's copies, and what the driver takes.
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "fs/base/fd.h"
#include "fs/base/mapping.h"
#include "tests/gpu/children.h"
#include "tests/gpu/raw_gpu.h"
#include "tests/gpu/rig.h"
#include "tests/gpu/session.h"
#include "tools/bench_files.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

constexpr unsigned kFlags = cuda::kRegisterPortable | cuda::kRegisterDeviceMap;
/// Where a process that registers the same memory again finds it.
constexpr const char* kAgain = "KVFS_GPU_CHECK_AGAIN";

enum class Pages { small, huge, pool };

struct Kind {
    const char* name;
    Pages pages;
    double goal;  ///< seconds a GiB
};
constexpr Kind kKinds[] = {{"shared memory, 4 KiB pages", Pages::small, 0.12},
                           {"shared memory, 2 MiB pages where the kernel likes", Pages::huge, 0.05},
                           {"shared memory, 2 MiB pages of the pool", Pages::pool, 0.05}};

struct Shared {
    UniqueFd fd;
    Mapping memory;
};

/// Written to, so that all its pages are there.
Shared make_shared_memory(std::uint64_t bytes, Pages pages) {
    const unsigned flags = MFD_CLOEXEC | (pages == Pages::pool ? MFD_HUGETLB | MFD_HUGE_2MB : 0U);
    Shared shared{UniqueFd(::memfd_create("gpu-check", flags)), {}};
    if (!shared.fd || ::ftruncate(shared.fd.get(), static_cast<off_t>(bytes)) != 0)
        throw Failure(errno_error("memfd_create"));
    auto mapping = Mapping::shared(shared.fd.get(), bytes, PROT_READ | PROT_WRITE);
    if (!mapping) throw Failure(mapping.error());
    shared.memory = std::move(*mapping);
    ::madvise(shared.memory.data(), bytes, pages == Pages::huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    // What the pool has not got would be a SIGBUS.
    if (pages == Pages::pool &&
        ::madvise(shared.memory.data(), bytes, 23 /* MADV_POPULATE_WRITE */) != 0)
        throw Failure(errno_error("2 MiB pages of the pool"));
    std::memset(shared.memory.data(), 0x33, bytes);
    return shared;
}

void unregister(void* memory) { RawGpu::get().cuMemHostUnregister(memory); }

double register_seconds(void* memory, std::uint64_t bytes) {
    const RawGpu& gpu = RawGpu::get();
    return time_of(
        [&] { gpu.expect("cuMemHostRegister", gpu.cuMemHostRegister(memory, bytes, kFlags)); });
}

double per_gib(double seconds, std::uint64_t bytes) {
    return seconds * static_cast<double>(1 << 30) / static_cast<double>(bytes);
}

/// GB/s of a copy from there; checks that the device saw the bytes.
double copy_from(Session& session, const std::string& name, std::span<std::byte> memory) {
    const RawGpu& gpu = RawGpu::get();
    const DeviceMemory device(memory.size());
    const RawStream stream;
    const auto copy = [&] {
        gpu.expect("cuMemcpyHtoDAsync",
                   gpu.cuMemcpyHtoDAsync(device.at(), memory.data(), memory.size(), stream.get()));
        stream.sync();
    };
    copy();
    const double speed = gb_per_s(memory.size(), time_of(copy));
    std::vector<std::byte> got(memory.size());
    fetch(got, device.at());
    const std::string where = compare(got, memory);
    if (!where.empty()) session.expect("the device sees " + name, false, where);
    return speed;
}

void measure_kind(Session& session, const Kind& kind, double raw) {
    const std::uint64_t bytes = session.scale.register_bytes;
    BenchRow cost{kind.name, "s/GiB", Better::kLower, {}, {}, "", 0, kind.goal};
    BenchRow speed = copy_row(std::string("  copied from there: ") + kind.name);
    for (int round = 0; round < session.scale.rounds; ++round) {
        const Shared shared = make_shared_memory(bytes, kind.pages);
        cost.kvfs.values.push_back(per_gib(register_seconds(shared.memory.data(), bytes), bytes));
        speed.kvfs.values.push_back(copy_from(session, kind.name, shared.memory.bytes()));
        speed.reference.values.push_back(raw);
        unregister(shared.memory.data());
    }
    session.tell(cost);
    session.tell(speed);
}

/// What the driver says to memory that cannot be written.
void ask_about_read_only(Session& session) {
    const RawGpu& gpu = RawGpu::get();
    const std::uint64_t bytes = session.scale.register_bytes / 8;
    const Shared shared = make_shared_memory(bytes, Pages::small);
    const auto mapped = Mapping::shared(shared.fd.get(), bytes, PROT_READ);
    if (!mapped) throw Failure(mapped.error());
    for (const unsigned flag : {0U, cuda::kRegisterReadOnly}) {
        const cuda::Result result = gpu.cuMemHostRegister(mapped->data(), bytes, kFlags | flag);
        session.tell(std::string("memory mapped to be read, registered ") +
                         (flag == 0 ? "without" : "with") + " READ_ONLY",
                     result == cuda::kSuccess ? "taken" : gpu.error_name(result));
        if (result != cuda::kSuccess) continue;
        copy_from(session, "memory registered read-only", mapped->bytes());
        unregister(mapped->data());
    }
    register_seconds(shared.memory.data(), bytes);
    const bool changed = ::mprotect(shared.memory.data(), bytes, PROT_READ) == 0;
    if (changed)
        copy_from(session, "memory made read-only after it was registered", shared.memory.bytes());
    session.tell("memory registered, then made read-only",
                 changed ? "copied from all the same" : "cannot be made so");
    ::mprotect(shared.memory.data(), bytes, PROT_READ | PROT_WRITE);
    unregister(shared.memory.data());
}

/// While this process has the memory registered, another one registers it, too.
void register_in_two_processes(Session& session) {
    const Shared shared = make_shared_memory(session.scale.register_bytes, Pages::huge);
    register_seconds(shared.memory.data(), shared.memory.size());
    const std::string path =
        "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(shared.fd.get());
    ::setenv(kAgain, path.c_str(), 1);
    const std::string ended = run_again("register-again", 60);
    ::unsetenv(kAgain);
    session.expect("another process registers the same memory", ended.empty(), ended);
    unregister(shared.memory.data());
}

}  // namespace

void measure_registration(Session& session) {
    double raw = 0;
    {
        RawCopies copies(session.scale.register_bytes);
        copies.in();
        raw = copies.in();
    }
    for (const Kind& kind : kKinds) {
        try {
            measure_kind(session, kind, raw);
        } catch (const Failure& failure) {
            session.tell(kind.name, failure.what());
        }
    }
    ask_about_read_only(session);
    register_in_two_processes(session);
}

void register_again(Session& session) {
    const char* path = std::getenv(kAgain);
    if (path == nullptr) return session.tell("registered again", "only by the registration's own");
    const UniqueFd fd(::open(path, O_RDWR | O_CLOEXEC));
    if (!fd) throw Failure(errno_error(path));
    auto mapping = Mapping::shared(fd.get(), session.scale.register_bytes, PROT_READ | PROT_WRITE);
    if (!mapping) throw Failure(mapping.error());
    RawGpu::get();  // its beginning is not the registration's
    const double seconds = register_seconds(mapping->data(), mapping->size());
    session.tell({"registered by a second process",
                  "s/GiB",
                  Better::kLower,
                  {{per_gib(seconds, mapping->size())}},
                  {},
                  "",
                  0});
    copy_from(session, "memory that two processes registered", mapping->bytes());
    unregister(mapping->data());
}

}  // namespace kvfs::gpu_check
