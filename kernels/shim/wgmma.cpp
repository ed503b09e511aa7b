// Matrix products of a warpgroup: see hopper.h.
#include <algorithm>
#include <cstring>
#include <utility>

#include "hopper.h"
#include "running.h"

namespace on_cpu {

Random moments(0);

namespace {

constexpr uint64_t RESERVED = 0x3FF1C000C000C000;  // of a descriptor
std::vector<std::vector<std::pair<uint64_t, uint64_t>>> warpgroup_products;  // descriptors in order of issue

// One factor of a product as its descriptor says (PTX ISA, "Asynchronous warpgroup-level matrix shared memory layout"):
// `extent` rows or columns i, 32 bytes of k deep, with k contiguous, or i contiguous in blocks of 128 bytes.
class Factor {
 public:
  Factor(uint64_t bits, bool k_contiguous, bool is_bf16, int extent)
      : first_(block.cta().dynamic_shared - reinterpret_cast<uintptr_t>(block.cta().dynamic_shared) % SHARED_APART +
               (bits & 0x3FFF) * 16),
        leading_((bits >> 16 & 0x3FFF) * 16),
        stride_((bits >> 32 & 0x3FFF) * 16),
        bytes_(is_bf16 ? 2 : 4),
        k_contiguous_(k_contiguous),
        memory_(block.cta().dynamic_shared),
        view_(block.cta().async_view) {
    if (bits >> 62 != 1) block.fail("a descriptor without the swizzle of 128 bytes");
    if (bits >> 49 & 7) block.fail("a descriptor with a base offset");
    if (bits & RESERVED) block.fail("a descriptor with bits that have no meaning");
    const Cta& cta = block.cta();
    if (first_ < cta.dynamic_shared || place(extent - 1, 32 / bytes_ - 1) >= cta.dynamic_shared + block.shared_bytes)
      block.fail("a descriptor reaches beyond the shared memory");
  }

  float operator()(int i, int k) const {
    const char* at = swizzled(place(i, k));
    unsigned bits = 0;
    if (memcmp(at, view_ + (at - memory_), bytes_)) {
      bits = ~0u;  // a thread wrote it, and did not fence
    } else if (bytes_ == 2) {
      unsigned short half;
      memcpy(&half, at, 2);
      bits = unsigned(half) << 16;
    } else {
      memcpy(&bits, at, 4);
      bits &= ~0x1FFFu;  // tf32: the lower 13 bits are not looked at
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
  }

 private:
  char* first_;
  long leading_, stride_;
  int bytes_;
  bool k_contiguous_;
  const char *memory_, *view_;

  char* place(int i, int k) const {
    const int across = 128 / bytes_;
    return k_contiguous_ ? first_ + i / 8 * stride_ + i % 8 * 128 + k * bytes_
                         : first_ + i / across * leading_ + k / 8 * stride_ + k % 8 * 128 + i % across * bytes_;
  }
};

// To a product, registers are what they were at the last fence; a GPU may have changed them since, or not.
void check_fenced(const void* registers, size_t bytes, const char* message) {
  const RunningThread& t = me();
  const char* at = static_cast<const char*>(registers);
  if (at < t.fenced_from || at + bytes > t.stack_top) return;  // not on the stack: no register
  if (memcmp(at, &t.fenced[at - t.fenced_from], bytes)) block.fail(message);
}

template <int DEPTH>
void read_rows(const Factor& a, float (&rows)[2][16]) {
  const RunningThread& t = me();
  for (int half = 0; half < 2; half++)
    for (int k = 0; k < DEPTH; k++) rows[half][k] = a(16 * (t.number / WARP % 4) + t.lane / 4 + 8 * half, k);
}

// The rows of A that this lane's sums need, from the registers of its four neighbors.
void gather_rows(Product& p) {
  const char* values = block.gather(~0u, p.rows_before, sizeof p.rows_before);
  for (int k = 0; k < 16; k++)
    for (int half = 0; half < 2; half++) {
      unsigned pair;
      memcpy(&pair, values + (me().lane / 4 * 4 + k % 8 / 2) * GATHER_BYTES + 4 * (k / 8 * 2 + half), 4);
      const unsigned bits = k % 2 ? pair & 0xFFFF0000 : pair << 16;
      memcpy(&p.row_values[half][k], &bits, 4);
    }
}

// This lane's sums: in rows lane / 4 and lane / 4 + 8 of its warp's 16, two columns of each 8.
template <bool BF16>
__attribute__((optimize("O3"))) void multiply(Product& p) {
  constexpr int DEPTH = BF16 ? 16 : 8;
  const int lane = me().lane;
  const Factor b(p.b, p.b_k_contiguous, BF16, p.columns);
  float rows[2][16];
  if (p.rows)
    memcpy(rows, p.row_values, sizeof rows);
  else
    read_rows<DEPTH>(Factor(p.a, p.a_k_contiguous, BF16, 64), rows);
  for (int group = 0; group < p.columns / 8; group++)
    for (int pair = 0; pair < 2; pair++) {
      float sums[2] = {}, column[DEPTH];
      for (int k = 0; k < DEPTH; k++) column[k] = b(8 * group + lane % 4 * 2 + pair, k);
      for (int half = 0; half < 2; half++) {
        for (int k = 0; k < DEPTH; k++) sums[half] += rows[half][k] * column[k];
        float& to = p.values[4 * group + 2 * half + pair];
        to = (p.add ? to : 0) + sums[half];
      }
    }
  p.done = true;
}

void check_warpgroup(uint64_t a, uint64_t b) {
  RunningThread& t = me();
  const size_t group = t.number / (4 * WARP), number = t.num_products++;
  if (warpgroup_products.size() <= group) warpgroup_products.resize(group + 1);
  auto& known = warpgroup_products[group];
  if (number == known.size()) known.push_back({a, b});
  if (known[number] != std::make_pair(a, b)) block.fail("the lanes of a warpgroup pass different descriptors to wgmma");
}

// Products run in their order, each on the sums that the last one before it on the same registers has left.
void execute(std::vector<Product>& products, size_t i) {
  for (size_t before = i; before-- > 0;)
    if (products[before].sums == products[i].sums) {
      products[i].values = products[before].values;
      break;
    }
  products[i].is_bf16 ? multiply<true>(products[i]) : multiply<false>(products[i]);
}

}  // namespace

void forget_products() { warpgroup_products.clear(); }

void fence_registers() {
  block.gather(~0u, "", 0);
  RunningThread& t = me();
  t.registers_fenced = true;
  t.fenced_from = static_cast<const char*>(__builtin_frame_address(0));
  t.fenced.assign(t.fenced_from, static_cast<const char*>(t.stack_top));
}

void start_product(uint64_t a, const unsigned* rows, uint64_t b, bool a_k_contiguous, bool b_k_contiguous, bool add,
                   bool is_bf16, float* sums, int columns) {
  RunningThread& t = me();
  if (!t.registers_fenced) block.fail("wgmma without a fence before it");
  check_warpgroup(a, b);
  Product p{a,       b,    rows,    {},   {}, a_k_contiguous, b_k_contiguous, add,
            is_bf16, sums, columns, t.product_group, false, {}};
  const auto same = [&](const Product& other) { return other.sums == sums; };
  if (std::none_of(t.products.begin(), t.products.end(), same))
    check_fenced(sums, columns / 2 * sizeof(float), "the sums of wgmma changed after the fence");
  if (rows) {
    check_fenced(rows, sizeof p.rows_before, "the registers of A changed after the fence");
    memcpy(p.rows_before, rows, sizeof p.rows_before);
    gather_rows(p);
  }
  p.values.assign(sums, sums + columns / 2);
  memset(static_cast<void*>(sums), 0xFF, columns / 2 * sizeof(float));
  t.products.push_back(std::move(p));
  const size_t last = t.products.size() - 1;
  if ((last == 0 || t.products[last - 1].done) && moments.below(2)) execute(t.products, last);
}

void commit_products() { me().product_group++; }

void wait_products(int pending) {
  std::vector<Product>& products = me().products;
  size_t finished = 0;
  for (; finished < products.size() && products[finished].group < me().product_group - pending; finished++) {
    Product& p = products[finished];
    if (!p.done) execute(products, finished);
    if (p.rows && memcmp(p.rows, p.rows_before, sizeof p.rows_before))
      block.fail("the registers of A changed before the wait for their product");
    size_t next = finished + 1;
    while (next < products.size() && products[next].sums != p.sums) next++;
    if (next == products.size())
      memcpy(p.sums, p.values.data(), p.values.size() * sizeof(float));
    else if (!products[next].done)
      products[next].values = p.values;
  }
  products.erase(products.begin(), products.begin() + finished);
  if (products.empty()) me().registers_fenced = false;
  block.gather(~0u, "", 0);  // a warp waits as one
}

}  // namespace on_cpu
