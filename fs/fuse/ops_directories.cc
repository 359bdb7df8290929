// Directories: listing, with attributes for `ls -l`, and fsync.
#include <algorithm>

#include "fs/fuse/reply.h"

namespace kvfs::fuse {
namespace {

void opendir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
    Front& front = front_of(req);
    const Status opened = checked("opendir", [&]() -> Status {
        fi->fh = front.listings.add(std::make_unique<Listing>(ino));
        return {};
    });
    if (!opened.ok()) return reply_error(req, opened.error());
    // The kernel keeps what it is told, until the directory's modification time is another.
    fi->cache_readdir = 1;
    fi->keep_cache = 1;
    if (unwanted(fuse_reply_open(req, fi))) front.listings.take(fi->fh);
}

void releasedir(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* fi) {
    front_of(req).listings.take(fi->fh);
    fuse_reply_err(req, 0);
}

/// The answer to one readdir: entries as the kernel packs them, at most `size` bytes.
class Packed {
  public:
    Packed(fuse_req_t req, std::size_t size) : req_(req), bytes_(size) {}

    /// False when it does not fit.
    bool add(const Listing::Entry& entry) {
        struct stat st {};
        st.st_ino = entry.ino;
        st.st_mode = entry.type;
        return took(fuse_add_direntry(req_, free(), room(), entry.name.c_str(), &st,
                                      static_cast<off_t>(entry.position)));
    }
    bool add(const Listing::Entry& entry, const fuse_entry_param& known) {
        return took(fuse_add_direntry_plus(req_, free(), room(), entry.name.c_str(), &known,
                                           static_cast<off_t>(entry.position)));
    }
    const char* data() const { return bytes_.data(); }
    std::size_t used() const { return used_; }

  private:
    char* free() { return bytes_.data() + used_; }
    std::size_t room() const { return bytes_.size() - used_; }
    bool took(std::size_t needed) {
        if (needed > room()) return false;
        used_ += needed;
        return true;
    }

    fuse_req_t req_;
    std::vector<char> bytes_;
    std::size_t used_ = 0;
};

void reply_packed(fuse_req_t req, const Result<Packed>& packed) {
    if (!packed.ok()) return reply_error(req, packed.error());
    fuse_reply_buf(req, packed->data(), packed->used());
}

// Names of cache files are hashes: this is about what one takes in an answer. What does not fit is
// asked for again.
constexpr std::size_t kEntryBytes = 80;
constexpr std::size_t kEntryPlusBytes = 216;

void readdir(fuse_req_t req, fuse_ino_t /*ino*/, std::size_t size, off_t position,
             fuse_file_info* fi) {
    reply_packed(req, checked("readdir", [&]() -> Result<Packed> {
                     auto entries = OpenTable<Listing>::at(fi->fh).next(
                         front_of(req).files.names(), static_cast<std::uint64_t>(position),
                         size / kEntryBytes + 1);
                     if (!entries.ok()) return entries.error();
                     Packed packed(req, size);
                     for (const auto& entry : *entries) {
                         if (!packed.add(entry)) break;
                     }
                     return packed;
                 }));
}

/// One entry with its attributes. False when it does not fit.
Result<bool> add_with_attributes(Front& front, Packed& packed, const Listing::Entry& entry) {
    if (entry.name == "." || entry.name == "..") {
        fuse_entry_param none{};  // inode 0: the kernel takes the name alone
        none.attr.st_ino = entry.ino;
        none.attr.st_mode = entry.type;
        return packed.add(entry, none);
    }
    const auto attributes = front.files.attributes(entry.ino);
    if (attributes.ok()) return packed.add(entry, to_entry(*attributes));
    if (attributes.error().code == ENOENT) return true;  // gone since: leave it out
    return attributes.error();
}

void readdirplus(fuse_req_t req, fuse_ino_t /*ino*/, std::size_t size, off_t position,
                 fuse_file_info* fi) {
    Front& front = front_of(req);
    Listing& listing = OpenTable<Listing>::at(fi->fh);
    reply_packed(req, checked("readdirplus", [&]() -> Result<Packed> {
                     Packed packed(req, size);
                     auto from = static_cast<std::uint64_t>(position);
                     while (packed.used() == 0) {  // an empty answer would mean the end
                         auto entries =
                             listing.next(front.files.names(), from, size / kEntryPlusBytes + 1);
                         if (!entries.ok()) return entries.error();
                         if (entries->empty()) break;
                         for (const auto& entry : *entries) {
                             const auto fits = add_with_attributes(front, packed, entry);
                             if (!fits.ok()) return fits.error();
                             if (!*fits) break;
                         }
                         from = entries->back().position;
                     }
                     return packed;
                 }));
}

void fsyncdir(fuse_req_t req, fuse_ino_t /*ino*/, int /*datasync*/, fuse_file_info* /*fi*/) {
    reply(req, checked("fsyncdir", [&] { return front_of(req).files.sync_names(); }));
}

}  // namespace

void set_directory_ops(fuse_lowlevel_ops& ops) {
    ops.opendir = counted<opendir>;
    ops.readdir = counted<readdir>;
    ops.readdirplus = counted<readdirplus>;
    ops.releasedir = counted<releasedir>;
    ops.fsyncdir = counted<fsyncdir>;
}

}  // namespace kvfs::fuse
