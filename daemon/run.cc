#include "daemon/run.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <cstdio>
#include <optional>

#include "daemon/detach.h"
#include "daemon/memory.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/serve.h"
#include "daemon/tuning.h"
#include "daemon/wire.h"
#include "fs/base/log.h"
#include "fs/fuse/mountpoint.h"

namespace kvfs {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

int fail(const std::string& message, int code = kFailed) {
    std::fprintf(stderr, "kvfsd: %s\n", message.c_str());
    return code;
}

void raise_limit(__rlimit_resource resource) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(resource, &limit);
}

/// What must hold before the first thread and the first file.
void prepare_process() {
    block_signals();
    ::umask(077);                 // the tiers hold everybody's files; the socket opens itself
    raise_limit(RLIMIT_NOFILE);   // a descriptor for each open object and mapper client
    raise_limit(RLIMIT_MEMLOCK);  // memory registered with io_uring counts as locked
}

/// From here on errors are the daemon's: what could be wrong with the command line has been
/// checked.
int start_and_serve(Options options, std::optional<Detached>& caller) {
    if (!options.no_mount) {  // the mount does this again; here it costs nothing yet
        auto mount_point = fuse::prepare_mountpoint(options.mount_point);
        if (!mount_point) return fail(mount_point.error().message());
        options.mount_point = *std::move(mount_point);
    }
    if (auto fits = check_memory(options.dram_bytes, Memory::now()); !fits)
        return fail(fits.error().what);
    if (!options.no_tuning) tune_kernel();
    auto parts = wire(options);
    if (!parts) return fail(parts.error().message());
    const Status served = serve(*parts, options, [&] {
        spdlog::info("serving {}; mapper socket {}",
                     options.no_mount ? "without a mount" : options.mount_point, options.socket);
        notify_service_manager("READY=1");
        if (caller) {
            caller->ready();
        } else {
            std::puts("ready");
            std::fflush(stdout);
        }
    });
    if (served) return 0;
    spdlog::error("{}", served.error().message());
    return fail(served.error().message());
}

}  // namespace

int run_kvfsd(const std::vector<std::string>& arguments) {
    auto invocation = parse_options(arguments, Surroundings::of_this_process());
    if (!invocation)
        return fail(invocation.error().what, invocation.error().code == EINVAL ? kUsage : kFailed);
    if (!invocation->text.empty()) {
        std::fputs(invocation->text.c_str(), stdout);
        return std::fflush(stdout) == 0 ? 0 : kFailed;
    }
    const Options& options = invocation->options;
    prepare_process();
    std::optional<Detached> caller;
    if (!options.foreground) {
        auto detached = Detached::start();
        if (!detached) return fail(detached.error().message());
        caller = *std::move(detached);
    }
    if (auto logging = set_up_log("kvfsd", options.log_level); !logging)
        return fail(logging.error().what);
    if (!options.foreground) log_to_syslog("kvfsd");
    return start_and_serve(options, caller);
}

}  // namespace kvfs
