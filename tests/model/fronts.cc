#include "tests/model/fronts.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace kvfs::tests {
namespace {

using Is = Loaded::Is;

Loaded not_there(const std::string& what) {
    if (errno == ENOENT) return {.is = Is::absent};
    return {.why = failed(what)};
}

Loaded not_there(const std::string& what, gm_status status) {
    if (status == GM_ENOENT) return {.is = Is::absent};
    // A gm_file holds no bytes in place between the calls.
    if (status == GM_ESTALE || status == GM_EEVICTED) return {.is = Is::replaced};
    return {.why = what + ": " + gm_strerror(status) + ": " + gm_message()};
}

gm_devptr address(std::string& bytes, std::size_t at) {
    return reinterpret_cast<gm_devptr>(bytes.data() + at);
}

Loaded read_in_pieces(int fd, std::size_t size, std::size_t piece) {
    Loaded loaded{.is = Is::there};
    loaded.bytes.resize(size);
    for (std::size_t at = 0; at < size;) {
        const std::size_t wanted = std::min(piece, size - at);
        const long n = ::pread(fd, loaded.bytes.data() + at, wanted, static_cast<off_t>(at));
        if (n < 0) return {.why = failed("read")};
        if (static_cast<std::size_t>(n) != wanted)
            return {.why = "read at " + std::to_string(at) + " gave " + std::to_string(n) + " of " +
                           std::to_string(wanted)};
        at += wanted;
    }
    return loaded;
}

Loaded read_by_map(int fd, std::size_t size) {
    void* memory = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (memory == MAP_FAILED) return {.why = failed("mmap")};
    Loaded loaded{.is = Is::there, .bytes = std::string(static_cast<const char*>(memory), size)};
    ::munmap(memory, size);
    return loaded;
}

}  // namespace

std::string failed(const std::string& what) { return what + ": " + std::strerror(errno); }

Loaded MountFront::load(const std::string& file, std::mt19937_64& random) {
    const int direct = random() % 3 == 0 ? O_DIRECT : 0;
    const int fd = ::open((directory_ + "/" + file).c_str(), O_RDONLY | O_CLOEXEC | direct);
    if (fd < 0) return not_there("open");
    struct stat st {};
    ::fstat(fd, &st);
    const auto size = static_cast<std::size_t>(st.st_size);
    Loaded loaded;
    if (size > 0 && random() % 6 == 0)
        loaded = read_by_map(fd, size);
    else
        loaded = read_in_pieces(fd, size, random() % 2 == 0 ? size : 4096 + random() % 200'000);
    ::close(fd);
    return loaded;
}

Loaded MountFront::look(const std::string& file) {
    struct stat st {};
    if (::stat((directory_ + "/" + file).c_str(), &st) != 0) return not_there("stat");
    return {.is = Is::there};
}

std::string MountFront::save(const std::string& file, std::string bytes) {
    const std::string path = directory_ + "/" + file;
    const std::string tmp = path + ".tmp";
    const int fd = ::open(tmp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) return failed("create");
    const long n = ::write(fd, bytes.data(), bytes.size());
    if (n != static_cast<long>(bytes.size())) return failed("write " + std::to_string(n));
    if (::close(fd) != 0) return failed("close");
    return std::rename(tmp.c_str(), path.c_str()) == 0 ? "" : failed("rename");
}

MapperFront::MapperFront(const std::string& mountpoint, std::string directory)
    : directory_(std::move(directory)) {
    gm_config config{};
    config.size = sizeof config;
    config.backend = GM_BACKEND_HOST;
    config.socket_path = mountpoint.c_str();
    if (gm_open(&config, &ctx_) != GM_OK) ctx_ = nullptr;
}

Loaded MapperFront::load(const std::string& file, std::mt19937_64& random) {
    gm_file* opened = nullptr;
    std::uint64_t size = 0;
    gm_status status = gm_file_open(ctx_, (directory_ + "/" + file).c_str(), 0, &opened, &size);
    if (status != GM_OK) return not_there("gm_file_open", status);
    Loaded loaded{.is = Is::there, .bytes = std::string(size, '?')};
    // Two layers, the second one first.
    const std::uint64_t cut = random() % (size + 1);
    const std::array<gm_range, 2> ranges = {
        gm_range{cut, size - cut, address(loaded.bytes, cut), 0, 0},
        gm_range{0, cut, address(loaded.bytes, 0), 1, 0}};
    gm_job* job = nullptr;
    status = gm_prefetch(opened, ranges.data(), 2, nullptr, &job);
    if (status == GM_OK) status = gm_job_wait(job, GM_ALL_GROUPS, -1);
    gm_job_free(job);
    gm_file_close(opened);
    return status == GM_OK ? loaded : not_there("gm_prefetch", status);
}

Loaded MapperFront::look(const std::string& file) {
    const std::string path = directory_ + "/" + file;
    const char* paths[] = {path.c_str()};
    gm_stat stat{};
    const gm_status status = gm_lookup(ctx_, paths, 1, &stat);
    if (status != GM_OK) return not_there("gm_lookup", status);
    return stat.status == GM_OK ? Loaded{.is = Is::there} : not_there("gm_lookup", stat.status);
}

std::string MapperFront::save(const std::string& file, std::string bytes) {
    gm_file* draft = nullptr;
    std::uint64_t size = bytes.size();
    gm_status status =
        gm_file_open(ctx_, (directory_ + "/" + file).c_str(), GM_CREATE, &draft, &size);
    if (status != GM_OK) return not_there("gm_file_open to save", status).why;
    const gm_range range{0, size, address(bytes, 0), 0, 0};
    status = gm_save(draft, &range, 1, nullptr, nullptr);
    if (status == GM_OK) status = gm_commit(draft, 0, nullptr);
    gm_file_close(draft);
    return status == GM_OK ? "" : std::string("gm_save: ") + gm_strerror(status);
}

}  // namespace kvfs::tests
