#include "fs/files/check.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <utility>

#include "fs/base/clock.h"
#include "fs/base/crc32c.h"
#include "fs/cache/checked_read.h"
#include "fs/files/rebuild.h"

namespace kvfs {
namespace {

using Fault = Namespace::Fault;
using Stores = std::vector<std::unique_ptr<ObjectStore>>;

/// A device that does not answer for so long does not answer.
constexpr auto kReadTimeout = std::chrono::seconds(60);

std::string object_name(const ObjectStore& store, ObjectId id) {
    std::array<char, 32> digits{};
    std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(id));
    return store.name() + ", object " + digits.data();
}

std::string_view last_component(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string bytes_of(std::uint64_t some, std::uint64_t all) {
    return std::to_string(some) + " bytes where its record says " + std::to_string(all);
}

std::pair<const char*, const char*> what_and_remedy(Fault::Kind kind) {
    switch (kind) {
        case Fault::Kind::unfinished:
            return {"was not finished when its daemon ended", "drop it"};
        case Fault::Kind::astray:
            return {"is an entry that leads nowhere", "remove the entry"};
        case Fault::Kind::unlisted:
            return {"is in no directory", "list it again, or drop it"};
        case Fault::Kind::wrong_counts:
            return {"does not count its entries right", "count again"};
        case Fault::Kind::wrong_total:
            return {"directories are not counted right", "count again"};
        case Fault::Kind::wrong_volume:
            return {"does not say which top-level directory it is below", "write that anew"};
        case Fault::Kind::wrong_target:
            return {"is a symbolic link whose target is missing, or of another length",
                    "believe the target, or drop the link"};
        case Fault::Kind::stray:
            return {"is no file, and something is recorded of it", "forget that"};
        case Fault::Kind::damaged:
            return {"has a damaged record", "forget it; its object may bring it back"};
    }
    return {"", ""};
}

class Checking {
  public:
    Checking(Namespace& names, const Stores& stores, const CheckOptions& options,
             const std::function<void(const Finding&)>& tell)
        : names_(names), stores_(stores), options_(options), tell_(tell) {}

    Result<CheckReport> run() {
        for (const auto& store : stores_)
            if (Status done = leftovers(*store); !done) return done.error();
        if (Status done = tables(); !done) return done.error();
        if (Status done = records(); !done) return done.error();
        for (const auto& store : stores_)
            if (Status done = objects(*store); !done) return done.error();
        const auto counts = names_.counts();
        report_.files = counts.files;
        report_.directories = counts.directories;
        return report_;
    }

  private:
    /// Tells the finding, after `remedy` was applied if it is to be.
    template <typename Remedy>
    void find(Finding finding, Remedy remedy) {
        ++report_.findings;
        if (options_.repair && !finding.remedy.empty()) {
            const Status done = remedy();
            finding.repaired = done.ok();
            if (!done) finding.failure = done.error().message();
        }
        if (!finding.repaired) ++report_.left;
        tell_(finding);
    }

    Status leftovers(ObjectStore& store) {
        const auto found = store.leftovers();
        if (!found) return found.error();
        for (const std::string& path : *found)
            find({path, "is of no object", "remove it"}, [&]() -> Status {
                return ::unlink(path.c_str()) == 0 ? Status{} : errno_error();
            });
        return {};
    }

    Status tables() {
        // What is mended may bring other things to light: a directory that goes leaves its entries.
        constexpr int kRounds = 8;
        for (int round = 0; round < kRounds; ++round) {
            const auto faults = names_.check();
            if (!faults) return faults.error();
            for (const Fault& fault : *faults) {
                const auto [what, remedy] = what_and_remedy(fault.kind);
                find({name_of(fault), what, remedy}, [&] { return mend(fault); });
            }
            if (faults->empty() || !options_.repair) break;
        }
        return {};
    }

    std::string name_of(const Fault& fault) const {
        if (fault.kind == Fault::Kind::wrong_total) return "names";
        if (!fault.name.empty()) {
            const auto directory = names_.path(fault.parent);
            if (!directory) return fault.name + " in inode " + std::to_string(fault.parent);
            return directory->empty() ? fault.name : *directory + "/" + fault.name;
        }
        return path_of(fault.ino);
    }

    std::string path_of(Ino ino) const {
        if (ino == kRootIno) return "/";
        auto path = names_.path(ino);
        return path ? *std::move(path) : "inode " + std::to_string(ino);
    }

    Status mend(const Fault& fault) {
        if (Status mended = names_.mend(fault); !mended) return mended;
        return fault.kind == Fault::Kind::unfinished ? purge(fault.ino) : Status{};
    }

    Status purge(ObjectId id) {
        Status all;
        for (const auto& store : stores_)
            if (Status removed = store->remove(id); !removed) all = removed;
        return all;
    }

    ObjectStore* store_of(std::uint64_t uid) const {
        const auto found = std::find_if(stores_.begin(), stores_.end(),
                                        [uid](const auto& store) { return store->uid() == uid; });
        return found == stores_.end() ? nullptr : found->get();
    }

    /// Every record has its object, whole.
    Status records() {
        const Status scanned =
            names_.scan_placements([&](const Inode& inode, const Placement& placement) {
                if (inode.nlink > 0) check_record(inode.ino, placement);
                return true;
            });
        for (auto& finding : std::exchange(postponed_, {}))
            find(std::move(finding.first), finding.second);
        return scanned;
    }

    void check_record(Ino ino, const Placement& placement) {
        ObjectStore* const store = store_of(placement.store_uid);
        if (store == nullptr)
            return postpone({path_of(ino), "is in an SSD directory that is not given", ""}, {});
        const auto drop = [this, ino]() -> Status {
            const auto removed = names_.remove(ino);
            return removed ? purge(ino) : Status(removed.error());
        };
        const std::string object = object_name(*store, ino);
        const auto extent = store->extent(ino);
        if (!extent) {
            const bool missing = extent.error().code == ENOENT;
            return postpone(
                {path_of(ino), object + (missing ? " is missing" : ": " + extent.error().message()),
                 missing ? "drop the file" : ""},
                drop);
        }
        if (placement.scratch) {
            if (extent->size == placement.size) return;
            Placement right = placement;
            right.size = extent->size;
            right.held_bytes = extent->held_bytes;
            return postpone(
                {path_of(ino), object + " has " + bytes_of(extent->size, placement.size),
                 "believe the object"},
                [this, ino, right] { return names_.set_placement(ino, right); });
        }
        if (extent->size != placement.size)
            return postpone(
                {path_of(ino), object + " has " + bytes_of(extent->size, placement.size),
                 "drop the file"},
                drop);
        if (!options_.verify) return;
        if (const Status read = verify(*store, ino, placement); !read)
            postpone({path_of(ino), object + ": " + read.error().what,
                      read.error().code == EBADMSG ? "drop the file" : ""},
                     drop);
    }

    /// Errors: EBADMSG - a byte is not the one that was written; others - it cannot be read.
    Status verify(ObjectStore& store, ObjectId id, const Placement& placement) {
        auto reader = store.open(id);
        if (!reader) return reader.error();
        const std::shared_ptr<ObjectReader> shared = *std::move(reader);
        for (std::uint64_t at = 0; at < placement.size; at += kChunkBytes) {
            const std::size_t length = std::min<std::uint64_t>(kChunkBytes, placement.size - at);
            const auto read = read_checked(shared, placement.size, placement.chunk_crcs, at, length,
                                           deadline_after(kReadTimeout));
            if (!read)
                return Error{read.error().code,
                             "chunk " + std::to_string(at / kChunkBytes) + ": " +
                                 (read.error().code == EBADMSG ? read.error().what
                                                               : read.error().message())};
            report_.verified_bytes += length;
        }
        return {};
    }

    /// Every object has its record.
    Status objects(ObjectStore& store) {
        std::vector<std::pair<ObjectId, ObjectLabel>> orphans;
        const Status scanned = store.scan([&](ObjectId id, const ObjectLabel& label) {
            ++report_.objects;
            const auto inode = names_.get(id);
            const auto record = names_.placement(id);
            if (!inode)
                orphans.emplace_back(id, label);
            else if (record && inode->nlink > 0)  // else it is unfinished, and has been told
                check_object(store, id, label, *record);
            return true;
        });
        for (auto& finding : std::exchange(postponed_, {}))
            find(std::move(finding.first), finding.second);
        for (const auto& [of, id] : std::exchange(older_, {}))
            if (const auto record = names_.placement(id))
                if (const Status done = relabel(*of, id, *record); !done)
                    find({object_name(*of, id), "is not labelled anew: " + done.error().message(),
                          ""},
                         [] { return Status{}; });
        // Of two with one name the later one has it.
        std::sort(orphans.begin(), orphans.end(),
                  [](const auto& a, const auto& b) { return a.first > b.first; });
        for (const auto& [id, label] : orphans) check_orphan(store, id, label);
        return scanned;
    }

    void check_object(ObjectStore& store, ObjectId id, const ObjectLabel& label,
                      const Placement& record) {
        if (record.store_uid != store.uid()) {
            const ObjectStore* const other = store_of(record.store_uid);
            if (record.store_uid != 0 && other == nullptr) return;  // told already
            return postpone({object_name(store, id),
                             "is a second copy of " + path_of(id) + ", which " +
                                 (other == nullptr ? "is empty" : "is in " + other->name()),
                             "remove the object"},
                            [&store, id] { return store.remove(id); });
        }
        const auto path = names_.path(id);
        const bool same = path && label.chunk_crcs == record.chunk_crcs &&
                          (record.scratch || label.size == record.size);
        if (same && label.path == *path) return;
        if (same && last_component(label.path) == last_component(*path)) {
            ++report_.older_labels;
            if (options_.repair) older_.emplace_back(&store, id);
            return;
        }
        const std::string what = label.path.empty() ? " has no label that can be read"
                                                    : " is labelled as " + label.path + ", " +
                                                          std::to_string(label.size) + " bytes";
        postpone({path_of(id), object_name(store, id) + what, "write its label anew"},
                 [this, &store, id, record] { return relabel(store, id, record); });
    }

    Status relabel(ObjectStore& store, ObjectId id, const Placement& record) {
        const auto inode = names_.get(id);
        if (!inode) return inode.error();
        auto path = names_.path(id);
        if (!path) return path.error();
        return store.relabel(id, {.path = *std::move(path),
                                  .size = record.size,
                                  .mode = inode->mode,
                                  .uid = inode->uid,
                                  .gid = inode->gid,
                                  .mtime_ns = inode->mtime_ns,
                                  .chunk_crcs = record.chunk_crcs});
    }

    /// An object that no inode has: it gets its name back, if it is whole and that is free.
    void check_orphan(ObjectStore& store, ObjectId id, const ObjectLabel& label) {
        const std::string object = object_name(store, id);
        const auto removal = [&store, id] { return store.remove(id); };
        const auto said = recovered_from(store, id, label);
        if (!said)
            return find({object, "is of no file: " + said.error().what,
                         said.error().code == EBADMSG ? "remove the object" : ""},
                        removal);
        if (options_.verify && !said->placement.scratch)
            if (const Status read = verify(store, id, said->placement); !read)
                return find({object, "is of no file: " + read.error().what,
                             read.error().code == EBADMSG ? "remove the object" : ""},
                            removal);
        const auto there = find_path(names_, label.path);
        if (there || there.error().code != ENOENT)
            return find(
                {object, "was " + label.path + ", which is another file now", "remove the object"},
                removal);
        find({label.path, "is not there, but " + object + " is that file", "give it its name back"},
             [&] {
                 const Status back = names_.recover(*said);
                 // EINVAL, ENAMETOOLONG, ...: no kvfsd wrote that label.
                 return back || back.error().code == EIO || back.error().code == ENOSPC
                            ? back
                            : store.remove(id);
             });
    }

    /// To be told and mended when the scan is over that it was met in.
    void postpone(Finding finding, std::function<Status()> remedy) {
        postponed_.emplace_back(std::move(finding), std::move(remedy));
    }

    Namespace& names_;
    const Stores& stores_;
    const CheckOptions& options_;
    const std::function<void(const Finding&)>& tell_;
    std::vector<std::pair<Finding, std::function<Status()>>> postponed_;
    std::vector<std::pair<ObjectStore*, ObjectId>> older_;  ///< their labels are to be written anew
    CheckReport report_;
};

}  // namespace

Result<CheckReport> check_tiers(Namespace& names, const Stores& stores, const CheckOptions& options,
                                const std::function<void(const Finding&)>& tell) {
    return Checking(names, stores, options, tell).run();
}

}  // namespace kvfs
