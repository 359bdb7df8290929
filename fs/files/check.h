#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fs/base/result.h"
#include "fs/names/namespace.h"
#include "fs/store/object_store.h"

namespace kvfs {

/// What fsck does: holds names against objects while no daemon uses either.
struct CheckOptions {
    bool repair = false;  ///< do what each finding's `remedy` says
    bool verify = false;  ///< read every object, and hold it against its checksums
};

/// One thing that is not as it should be.
struct Finding {
    std::string subject;  ///< a path in the mount, or of a file below an SSD directory
    std::string what;
    std::string remedy;  ///< what a repair does about it; empty: nothing can be done here
    bool repaired = false;
    std::string failure{};  ///< why the repair failed
};

struct CheckReport {
    std::uint64_t files = 0;  ///< that have a name
    std::uint64_t directories = 0;
    std::uint64_t objects = 0;
    std::uint64_t verified_bytes = 0;
    std::uint64_t findings = 0;
    std::uint64_t left = 0;  ///< findings that nothing was done about
    /// Objects labelled with the name that a directory above them had before it was renamed, as it
    /// should be: no findings. A repair labels them anew.
    std::uint64_t older_labels = 0;
};

/// Looks through `names` and then `stores`, and tells each finding; with `repair`, once its
/// remedy was tried. Requires: nothing else uses either; `names` may be read-only
/// without `repair`. A record in a store that is not among `stores` is left alone: its directory
/// may just not have been given. Errors: what the database or a store's scan says; a failing remedy
/// counts as left.
Result<CheckReport> check_tiers(Namespace& names,
                                const std::vector<std::unique_ptr<ObjectStore>>& stores,
                                const CheckOptions& options,
                                const std::function<void(const Finding&)>& tell);

}  // namespace kvfs
