#pragma once
#include <cassert>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

namespace kvfs {

/// Why an operation failed: an errno value, decided where the meaning is known, and a sentence for
/// people. The sentence stays empty on hot paths (a missing name is not worth an allocation).
struct Error {
    int code = EIO;
    std::string what{};

    /// "what: strerror(code)", or strerror(code) alone.
    std::string message() const {
        const std::string reason = std::generic_category().message(code);
        return what.empty() ? reason : what + ": " + reason;
    }
};

/// A value or an Error. Never both, never neither.
template <typename T>
class [[nodiscard]] Result {
  public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT(*-explicit-*)
    Result(Error error)
        : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(*-explicit-*)

    bool ok() const { return state_.index() == 0; }
    explicit operator bool() const { return ok(); }

    T& value() & {
        assert(ok());
        return *std::get_if<0>(&state_);
    }
    const T& value() const& {
        assert(ok());
        return *std::get_if<0>(&state_);
    }
    T&& value() && {
        assert(ok());
        return std::move(*std::get_if<0>(&state_));
    }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    const Error& error() const {
        assert(!ok());
        return *std::get_if<1>(&state_);
    }

  private:
    std::variant<T, Error> state_;
};

/// Success or an Error.
template <>
class [[nodiscard]] Result<void> {
  public:
    Result() = default;
    Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT(*-explicit-*)

    bool ok() const { return ok_; }
    explicit operator bool() const { return ok_; }
    const Error& error() const {
        assert(!ok_);
        return error_;
    }

  private:
    Error error_{0, {}};
    bool ok_ = true;
};

using Status = Result<void>;

/// The Error of the system call that just failed; `what` names the call and its object.
inline Error errno_error(std::string what = {}) { return Error{errno, std::move(what)}; }

}  // namespace kvfs
