#include "fs/base/result.h"

#include <criterion/criterion.h>

#include <memory>

using kvfs::Error;
using kvfs::Result;
using kvfs::Status;

TestSuite(result, .timeout = 30);

Test(result, holds_a_value_or_an_error) {
    const Result<int> seven = 7;
    const Result<int> absent = Error{ENOENT, {}};

    cr_assert(seven.ok());
    cr_expect_eq(*seven, 7);
    cr_assert_not(absent.ok());
    cr_expect_eq(absent.error().code, ENOENT);
}

Test(result, gives_a_move_only_value_away) {
    Result<std::unique_ptr<int>> result = std::make_unique<int>(7);

    const std::unique_ptr<int> taken = *std::move(result);

    cr_expect_eq(*taken, 7);
}

Test(result, of_nothing_is_a_success) {
    const Status success;
    const Status failure = Error{EIO, {}};

    cr_expect(success.ok());
    cr_expect_not(failure.ok());
}

Test(result, message_names_the_object_and_the_reason) {
    const Error with_object{ENOENT, "open /x"};
    const Error bare{ENOENT, {}};

    cr_expect(with_object.message() == "open /x: No such file or directory");
    cr_expect(bare.message() == "No such file or directory");
}

Test(result, errno_error_takes_the_code_of_the_call_that_failed) {
    errno = EXDEV;
    cr_expect_eq(kvfs::errno_error("rename").code, EXDEV);
}
