#pragma once
#include <string>
#include <string_view>

#include "fs/base/result.h"
#include "fs/store/object_store.h"

namespace kvfs {

/// The label as one line of JSON, for people and for decode_label. A path that is not UTF-8 stands
/// there in hex: any bytes survive.
std::string encode_label(const ObjectLabel& label);

/// Errors: EBADMSG - not a label, or one of a later format.
Result<ObjectLabel> decode_label(std::string_view text);

}  // namespace kvfs
