// What the machine is: without it no figure can be compared with another one's.
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/gpu/raw_gpu.h"
#include "tests/gpu/rig.h"
#include "tests/gpu/session.h"
#include "tools/verb.h"

namespace kvfs::gpu_check {
namespace {

namespace stdfs = std::filesystem;

/// The first line, "-" without one.
std::string line_of(const stdfs::path& path) {
    std::ifstream file(path);
    std::string line;
    return std::getline(file, line) && !line.empty() ? line : "-";
}

/// The value after "KEY" and a colon in a file of such lines.
std::string value_of(const stdfs::path& path, const std::string& key) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with(key)) continue;
        const auto from = line.find_first_not_of(" \t", line.find(':') + 1);
        return from == std::string::npos ? "-" : line.substr(from);
    }
    return "-";
}

void see_host(Session& session) {
    utsname system{};
    ::uname(&system);
    session.tell("kernel", system.release);
    session.tell("processor", value_of("/proc/cpuinfo", "model name") + ", " +
                                  std::to_string(::sysconf(_SC_NPROCESSORS_ONLN)) + " of them");
    session.tell("memory", value_of("/proc/meminfo", "MemTotal"));
    session.tell("free 2 MiB pages of the pool", value_of("/proc/meminfo", "HugePages_Free"));
    const stdfs::path huge = "/sys/kernel/mm/transparent_hugepage";
    session.tell("2 MiB pages for shared memory", line_of(huge / "shmem_enabled"));
    session.tell("2 MiB pages for private memory", line_of(huge / "enabled"));
    rlimit locked{};
    ::getrlimit(RLIMIT_MEMLOCK, &locked);
    session.tell("RLIMIT_MEMLOCK", locked.rlim_cur == RLIM_INFINITY
                                       ? "unlimited"
                                       : std::to_string(locked.rlim_cur >> 10) + " KiB");
    session.tell("/dev/fuse", ::access("/dev/fuse", F_OK) == 0 ? "there" : "not there");
}

void see_devices(Session& session) {
    std::error_code ignored;
    for (const auto& disk : stdfs::directory_iterator("/sys/block", ignored)) {
        const std::string name = disk.path().filename();
        if (name.starts_with("loop") || name.starts_with("ram")) continue;
        session.tell("disk " + name, line_of(disk.path() / "size") + " sectors, " +
                                         line_of(disk.path() / "device/model") + ", scheduler " +
                                         line_of(disk.path() / "queue/scheduler"));
    }
    for (const auto& device : stdfs::directory_iterator("/sys/bus/pci/devices", ignored)) {
        if (line_of(device.path() / "vendor") != "0x10de") continue;
        session.tell("GPU at " + device.path().filename().string(),
                     "link " + line_of(device.path() / "current_link_speed") + " x" +
                         line_of(device.path() / "current_link_width") + ", at most " +
                         line_of(device.path() / "max_link_speed") + " x" +
                         line_of(device.path() / "max_link_width") + ", NUMA node " +
                         line_of(device.path() / "numa_node"));
    }
    const bool iommu = !stdfs::is_empty("/sys/kernel/iommu_groups", ignored) && !ignored;
    session.tell("IOMMU groups", iommu ? "there" : "none");
}

}  // namespace

void see_machine(Session& session) {
    const RawGpu& gpu = RawGpu::get();
    session.tell("device", gpu.name());
    session.tell("driver", line_of("/proc/driver/nvidia/version"));
    session.tell("CUDA of the driver", std::to_string(gpu.version / 1000) + "." +
                                           std::to_string(gpu.version % 1000 / 10));
    std::size_t bytes = 0;
    gpu.expect("cuDeviceTotalMem", gpu.cuDeviceTotalMem(&bytes, gpu.device));
    session.tell("device memory", std::to_string(bytes >> 20) + " MiB");
    const std::pair<const char*, int> attributes[] = {
        {"compute capability, major", cuda::kComputeCapabilityMajor},
        {"compute capability, minor", cuda::kComputeCapabilityMinor},
        {"multiprocessors", cuda::kMultiprocessors},
        {"copy engines", cuda::kCopyEngines},
        {"registered memory has the host's address (91)", cuda::kHostPointersForRegistered},
        {"host memory can be registered (99)", cuda::kHostRegisterSupported},
        {"read-only memory can be registered (113)", cuda::kReadOnlyHostRegisterSupported},
        {"streams wait for 64 bit values (122)", cuda::kStreamMemoryOperations}};
    for (const auto& [what, which] : attributes)
        session.tell(what, std::to_string(gpu.attribute(which)));
    session.tell("batches", gpu.batch_of_13000 != nullptr   ? "as of 13.0"
                            : gpu.batch_of_12080 != nullptr ? "as of 12.8"
                                                            : "none");
    see_host(session);
    see_devices(session);
    const Mapper mapper(session.daemons.roomy);
    session.tell("libgpumap", mapper.info().backend_reason);
    std::string statistics(1 << 16, '\0');
    std::size_t length = statistics.size();
    if (gm_stats_json(mapper, statistics.data(), &length) == GM_OK) {
        const Json parsed = Json::parse(statistics.c_str(), nullptr, false);
        if (parsed.is_object()) session.tell("pages of the DRAM tier", parsed.value("pages", "-"));
    }
}

}  // namespace kvfs::gpu_check
