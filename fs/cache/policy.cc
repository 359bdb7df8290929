#include "fs/cache/policy.h"

namespace kvfs {
namespace {

struct Named {
    std::string_view name;
    MakePolicy make;
};
constexpr Named kPolicies[] = {{"lru", make_lru}, {"s3fifo", make_s3fifo}, {"kvfs", make_kvfs}};

}  // namespace

MakePolicy policy_named(std::string_view name) {
    for (const Named& policy : kPolicies)
        if (policy.name == name) return policy.make;
    return nullptr;
}

std::string policy_names() {
    std::string names;
    for (const Named& policy : kPolicies)
        names.append(names.empty() ? "" : ", ").append(policy.name);
    return names;
}

}  // namespace kvfs
