#include "daemon/tuning.h"

#include <fcntl.h>

#include <array>
#include <fstream>
#include <string>

#include "fs/base/fd.h"
#include "fs/base/log.h"

namespace kvfs {
namespace {

struct Switch {
    const char* file;
    const char* off;  ///< what the file says then
    const char* on;   ///< what to write into it
    const char* gives;
};

constexpr std::array kSwitches = {
    // Without brackets around it, `never` is only one of the choices.
    Switch{"/sys/kernel/mm/transparent_hugepage/shmem_enabled", "[never]", "advise",
           "2 MiB pages for the DRAM tier"},
    Switch{"/sys/module/fuse/parameters/enable_uring", "N", "Y", "FUSE over io_uring"},
};

bool is_off(const Switch& one) {
    std::ifstream file(one.file);
    std::string line;
    return std::getline(file, line) && line.find(one.off) != std::string::npos;
}

}  // namespace

void tune_kernel() {
    const UniqueFd loads_the_module(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    for (const Switch& one : kSwitches) {
        if (!is_off(one)) continue;
        std::ofstream(one.file) << one.on << std::flush;
        if (is_off(one)) {
            spdlog::info("goes without {}, which is slower: as root, echo {} > {}", one.gives,
                         one.on, one.file);
        } else {
            spdlog::info("turned on {}: wrote {} to {}", one.gives, one.on, one.file);
        }
    }
}

}  // namespace kvfs
