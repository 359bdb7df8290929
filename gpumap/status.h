#pragma once
#include <string>

#include "gpumap.h"

namespace kvfs::gpumap {

/// What an errno value that the daemon or the kernel gave means to a caller of the library.
gm_status from_errno(int code);

/// Becomes gm_message() of the calling thread.
void set_message(std::string message);
const char* message();

/// set_message(), and `status` for the return statement.
inline gm_status fail(gm_status status, std::string why) {
    set_message(std::move(why));
    return status;
}

}  // namespace kvfs::gpumap
