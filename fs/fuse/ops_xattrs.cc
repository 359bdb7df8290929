// Extended attributes.
#include <sys/xattr.h>

#include <string_view>

#include "fs/fuse/reply.h"

namespace kvfs::fuse {
namespace {

/// Names are of a namespace, as on a disk. Of system.*: POSIX ACLs would be kept but not enforced,
/// and every `ls -l` asks for them.
Status check_name(std::string_view name) {
    // Only where SELinux is off it asks us: ls does, of each file until told that there are none.
    if (name == "security.selinux") return Error{EOPNOTSUPP};
    for (const std::string_view prefix : {"user.", "trusted.", "security."})
        if (name.starts_with(prefix))
            return name.size() > prefix.size() ? Status{} : Status(Error{EINVAL});
    return Error{EOPNOTSUPP};
}

/// How getxattr and listxattr answer: with the size alone when asked with none, else whole or
/// ERANGE.
void reply_sized(fuse_req_t req, const Result<std::string>& value, std::size_t size) {
    if (!value.ok()) return reply_error(req, value.error());
    if (size == 0) {
        fuse_reply_xattr(req, value->size());
    } else if (value->size() > size) {
        reply_error(req, Error{ERANGE});
    } else {
        fuse_reply_buf(req, value->data(), value->size());
    }
}

void getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, std::size_t size) {
    const auto value = stale_if_gone(checked("getxattr", [&]() -> Result<std::string> {
        if (const Status known = check_name(name); !known) return known.error();
        return front_of(req).files.xattr(ino, name);
    }));
    reply_sized(req, value, size);
}

void setxattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value, std::size_t size,
              int flags) {
    reply(req, stale_if_gone(checked("setxattr", [&]() -> Status {
              if (Status known = check_name(name); !known) return known;
              auto mode = Namespace::XattrMode::any;
              if (flags == XATTR_CREATE) {
                  mode = Namespace::XattrMode::create_only;
              } else if (flags == XATTR_REPLACE) {
                  mode = Namespace::XattrMode::replace_only;
              } else if (flags != 0) {
                  return Error{EINVAL};
              }
              return front_of(req).files.set_xattr(ino, name, {value, size}, mode,
                                                   fuse_req_ctx(req)->uid);
          })));
}

void listxattr(fuse_req_t req, fuse_ino_t ino, std::size_t size) {
    const auto names = stale_if_gone(checked("listxattr", [&]() -> Result<std::string> {
        auto listed = front_of(req).files.xattrs(ino);
        if (!listed.ok()) return listed.error();
        std::string joined;
        for (const auto& name : *listed) joined.append(name).push_back('\0');
        return joined;
    }));
    reply_sized(req, names, size);
}

void removexattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
    reply(req, stale_if_gone(checked("removexattr", [&]() -> Status {
              if (Status known = check_name(name); !known) return known;
              return front_of(req).files.remove_xattr(ino, name, fuse_req_ctx(req)->uid);
          })));
}

}  // namespace

void set_xattr_ops(fuse_lowlevel_ops& ops) {
    ops.getxattr = counted<getxattr>;
    ops.setxattr = counted<setxattr>;
    ops.listxattr = counted<listxattr>;
    ops.removexattr = counted<removexattr>;
}

}  // namespace kvfs::fuse
