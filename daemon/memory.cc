#include "daemon/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include "fs/base/size.h"

namespace kvfs {
namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

struct CgroupMemory {
    std::uint64_t limit = kUnlimited;
    std::uint64_t available = kUnlimited;
};

std::uint64_t number_in(const std::string& path, std::uint64_t otherwise) {
    std::ifstream file(path);
    std::uint64_t number = 0;
    return file >> number ? number : otherwise;  // "max" is no number
}

/// The tightest limit on the way up from this process's cgroup (version 2).
CgroupMemory cgroup_memory() {
    CgroupMemory memory;
    std::ifstream file("/proc/self/cgroup");
    std::string group;
    while (std::getline(file, group) && !group.starts_with("0::")) {
    }
    if (!group.starts_with("0::")) return memory;
    group.erase(0, 3);
    for (;;) {
        const std::string directory = "/sys/fs/cgroup" + group + "/";
        const std::uint64_t limit = number_in(directory + "memory.max", kUnlimited);
        if (limit != kUnlimited) {
            const std::uint64_t used = number_in(directory + "memory.current", 0);
            memory.limit = std::min(memory.limit, limit);
            memory.available = std::min(memory.available, limit - std::min(limit, used));
        }
        const auto slash = group.rfind('/');
        if (slash == std::string::npos) return memory;
        group.erase(slash);
    }
}

}  // namespace

Memory Memory::now() {
    Memory memory;
    std::uint64_t free_huge_pages = 0;
    std::uint64_t huge_page_bytes = 0;
    std::ifstream file("/proc/meminfo");
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string key;
        std::uint64_t number = 0;
        if (!(words >> key >> number)) continue;
        if (key == "MemTotal:") memory.total = number << 10;
        if (key == "MemAvailable:") memory.available = number << 10;
        if (key == "HugePages_Free:") free_huge_pages = number;
        if (key == "Hugepagesize:") huge_page_bytes = number << 10;
    }
    const CgroupMemory cgroup = cgroup_memory();
    memory.total = std::min(memory.total, cgroup.limit);
    memory.available = std::min(memory.available, cgroup.available);
    memory.available +=
        free_huge_pages * huge_page_bytes;  // set aside: MemAvailable leaves them out
    return memory;
}

Status check_memory(std::uint64_t dram_bytes, const Memory& memory) {
    // Where /proc/meminfo could not be read nothing is known, and the allocation itself must tell.
    if (memory.total == 0 || dram_bytes <= memory.available) return {};
    return Error{ENOMEM, "--dram " + format_size(dram_bytes) + ": this machine has " +
                             format_size(memory.available) + " of memory available (of " +
                             format_size(memory.total) + "); give less"};
}

}  // namespace kvfs
