#include "fs/mapper/request.h"

#include <cstring>
#include <string>

namespace kvfs::mapper {
namespace {

using protocol::Op;

Error malformed(std::string why) { return {EBADMSG, std::move(why)}; }

/// Takes values off the front of a payload.
class Payload {
  public:
    explicit Payload(std::span<const std::byte> bytes) : bytes_(bytes) {}

    template <protocol::Wire T>
    bool take(T& value) {
        if (bytes_.size() < sizeof value) return false;
        std::memcpy(&value, bytes_.data(), sizeof value);
        bytes_ = bytes_.subspan(sizeof value);
        return true;
    }

    bool take_path(std::string_view& path) {
        std::uint16_t length = 0;
        if (!take(length) || length > protocol::kPathBytesMax || bytes_.size() < length)
            return false;
        path = {reinterpret_cast<const char*>(bytes_.data()), length};
        bytes_ = bytes_.subspan(length);
        return path.find('\0') == std::string_view::npos;
    }

    template <protocol::Wire T>
    bool take_all(std::uint32_t count, std::vector<T>& values) {
        if (bytes_.size() != std::size_t{count} * sizeof(T)) return false;
        values.resize(count);
        std::memcpy(values.data(), bytes_.data(), bytes_.size());
        bytes_ = {};
        return true;
    }

    bool take_all_paths(std::uint32_t count, std::vector<std::string_view>& paths) {
        // A path takes two bytes at least: a false count costs no memory.
        if (count > bytes_.size() / sizeof(std::uint16_t)) return false;
        paths.resize(count);
        for (std::string_view& path : paths) {
            if (!take_path(path)) return false;
        }
        return bytes_.empty();
    }

    bool empty() const { return bytes_.empty(); }

  private:
    std::span<const std::byte> bytes_;
};

bool parse_payload(Request& request, Payload payload) {
    const std::uint32_t count = request.header.count;
    if (request.header.op != Op::stats && request.header.op != Op::bye && count == 0) return false;
    switch (request.header.op) {
        case Op::hello:
            return count == 1 && payload.take(request.hello) && payload.empty();
        case Op::lookup:
            return payload.take_all_paths(count, request.paths);
        case Op::lease:
        case Op::discard:
            return payload.take_all(count, request.numbers);
        case Op::publish:
            return count == 1 && payload.take_all(count, request.numbers);
        case Op::release:
            return payload.take_all(count, request.releases);
        case Op::draft:
            return count == 2 && payload.take(request.draft) &&
                   payload.take_all_paths(count, request.paths) && request.draft.size > 0 &&
                   (request.draft.flags & ~protocol::kMakeDirectories) == 0;
        case Op::await:
            return count == 1 && payload.take(request.await) && payload.empty();
        case Op::set:
            return count == 3 && payload.take_all_paths(count, request.paths);
        case Op::stats:
        case Op::bye:
            return count == 0 && payload.empty();
    }
    return false;
}

}  // namespace

Result<Request> parse_request(std::span<const std::byte> packet) {
    Request request;
    if (packet.size() < sizeof request.header || packet.size() > protocol::kPacketBytesMax)
        return malformed("a packet of " + std::to_string(packet.size()) + " bytes");
    std::memcpy(&request.header, packet.data(), sizeof request.header);
    const protocol::Header& header = request.header;
    if (header.magic != protocol::kMagic) return malformed("not this protocol");
    if (header.version != protocol::kVersion) {
        if (header.op != Op::hello) return malformed("another version of the protocol");
        return Error{EPROTONOSUPPORT, "version " + std::to_string(header.version)};
    }
    if (header.bytes != packet.size() - sizeof header)
        return malformed("a payload of another length than the header says");
    if (header.status != 0 || header.flags != 0)
        return malformed("a reply where a request belongs");
    if (!parse_payload(request, Payload(packet.subspan(sizeof header))))
        return malformed("operation " + std::to_string(static_cast<unsigned>(header.op)) +
                         " with a payload that is not its own");
    return request;
}

}  // namespace kvfs::mapper
