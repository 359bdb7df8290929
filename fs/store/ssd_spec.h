#pragma once
#include <string_view>

#include "fs/base/result.h"
#include "fs/store/ssd_store.h"

namespace kvfs {

/// What people write for an SSD store: "DIR[,size=SIZE][,request=SIZE][,window=SIZE]", "\\," being
/// a comma in DIR. The directory comes back as it was written. Errors: EINVAL, with a sentence.
Result<SsdStore::Options> parse_ssd_spec(std::string_view text);

}  // namespace kvfs
