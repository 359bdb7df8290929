#pragma once
#include <criterion/criterion.h>

#include "tests/unit/gpumap_fixture.h"

/// A test that runs on the host backend, and in the suite NAME_cuda on the cuda backend over the
/// fake driver, which must find nothing to complain about.
#define DeviceTest(its_suite, its_name)                       \
    static void its_suite##_##its_name();                     \
    Test(its_suite, its_name) { its_suite##_##its_name(); }   \
    Test(its_suite##_cuda, its_name) {                        \
        kvfs::tests::use_fake_cuda();                         \
        its_suite##_##its_name();                             \
        cr_expect_eq(kvfs::tests::FakeCuda::complaint(), ""); \
    }                                                         \
    static void its_suite##_##its_name()
