#pragma once
#include <memory>
#include <string>

#include "tests/gpu/raw_gpu.h"

namespace kvfs::gpu_check {

/// A matrix product, to be slowed down by copies: by a plain kernel of our own in 32 bit floats.
class Product {
  public:
    /// Of square matrices of this order, a multiple of 16.
    explicit Product(unsigned order);
    ~Product();
    Product(const Product&) = delete;
    Product& operator=(const Product&) = delete;

    /// Queues so many products, one after the other.
    void run(const RawStream& stream, int times) const;
    /// "" or what is wrong with the result of the last one.
    std::string find_fault() const;

  private:
    unsigned order_;
    cuda::Module module_ = nullptr;
    cuda::Function kernel_ = nullptr;
    DeviceMemory a_, b_, c_;
};

/// The same by cuBLAS in bf16, on the tensor cores, where $KVFS_CUBLAS or the loader finds one.
class BlasProduct {
  public:
    /// Null without one; `*why` says so.
    static std::unique_ptr<BlasProduct> open(unsigned order, std::string* why);
    ~BlasProduct();
    BlasProduct(const BlasProduct&) = delete;
    BlasProduct& operator=(const BlasProduct&) = delete;
    void run(const RawStream& stream, int times) const;

  private:
    struct Library;
    BlasProduct(std::unique_ptr<Library> library, unsigned order);

    std::unique_ptr<Library> library_;
    unsigned order_;
    DeviceMemory a_, b_, c_;
};

}  // namespace kvfs::gpu_check
