// Operand lists of inline PTX, for wgmma of each width: of GROUPS groups of 8 columns, each four registers.
//     NAMES_g          "%0, %1, ..., %(4 g - 1)": the sums of g groups
//     SUMS_g           their constraints: d[0] to d[g - 1], read and written
//     NUMBERS_g        4 g to 4 g + 3: of the operands that follow
//     EACH_WGMMA(W)    W(g, columns, g + 1) for each width
// Each list is the one before it and four more: the preprocessor can neither count nor repeat.
#pragma once

#define NAME_FOUR(a, b, c, d) "%" #a ", %" #b ", %" #c ", %" #d
#define NAMES_OF(numbers) NAME_FOUR(numbers)
#define SUMS_OF(g) "+f"(d[g][0]), "+f"(d[g][1]), "+f"(d[g][2]), "+f"(d[g][3])

#define NUMBERS_0 0, 1, 2, 3
#define NUMBERS_1 4, 5, 6, 7
#define NUMBERS_2 8, 9, 10, 11
#define NUMBERS_3 12, 13, 14, 15
#define NUMBERS_4 16, 17, 18, 19
#define NUMBERS_5 20, 21, 22, 23
#define NUMBERS_6 24, 25, 26, 27
#define NUMBERS_7 28, 29, 30, 31
#define NUMBERS_8 32, 33, 34, 35
#define NUMBERS_9 36, 37, 38, 39
#define NUMBERS_10 40, 41, 42, 43
#define NUMBERS_11 44, 45, 46, 47
#define NUMBERS_12 48, 49, 50, 51
#define NUMBERS_13 52, 53, 54, 55
#define NUMBERS_14 56, 57, 58, 59
#define NUMBERS_15 60, 61, 62, 63
#define NUMBERS_16 64, 65, 66, 67
#define NUMBERS_17 68, 69, 70, 71
#define NUMBERS_18 72, 73, 74, 75
#define NUMBERS_19 76, 77, 78, 79
#define NUMBERS_20 80, 81, 82, 83
#define NUMBERS_21 84, 85, 86, 87
#define NUMBERS_22 88, 89, 90, 91
#define NUMBERS_23 92, 93, 94, 95
#define NUMBERS_24 96, 97, 98, 99
#define NUMBERS_25 100, 101, 102, 103
#define NUMBERS_26 104, 105, 106, 107
#define NUMBERS_27 108, 109, 110, 111
#define NUMBERS_28 112, 113, 114, 115
#define NUMBERS_29 116, 117, 118, 119
#define NUMBERS_30 120, 121, 122, 123
#define NUMBERS_31 124, 125, 126, 127
#define NUMBERS_32 128, 129, 130, 131
#define NUMBERS_33 132, 133, 134, 135

#define NAMES_1 NAMES_OF(NUMBERS_0)
#define NAMES_2 NAMES_1 ", " NAMES_OF(NUMBERS_1)
#define NAMES_3 NAMES_2 ", " NAMES_OF(NUMBERS_2)
#define NAMES_4 NAMES_3 ", " NAMES_OF(NUMBERS_3)
#define NAMES_5 NAMES_4 ", " NAMES_OF(NUMBERS_4)
#define NAMES_6 NAMES_5 ", " NAMES_OF(NUMBERS_5)
#define NAMES_7 NAMES_6 ", " NAMES_OF(NUMBERS_6)
#define NAMES_8 NAMES_7 ", " NAMES_OF(NUMBERS_7)
#define NAMES_9 NAMES_8 ", " NAMES_OF(NUMBERS_8)
#define NAMES_10 NAMES_9 ", " NAMES_OF(NUMBERS_9)
#define NAMES_11 NAMES_10 ", " NAMES_OF(NUMBERS_10)
#define NAMES_12 NAMES_11 ", " NAMES_OF(NUMBERS_11)
#define NAMES_13 NAMES_12 ", " NAMES_OF(NUMBERS_12)
#define NAMES_14 NAMES_13 ", " NAMES_OF(NUMBERS_13)
#define NAMES_15 NAMES_14 ", " NAMES_OF(NUMBERS_14)
#define NAMES_16 NAMES_15 ", " NAMES_OF(NUMBERS_15)
#define NAMES_17 NAMES_16 ", " NAMES_OF(NUMBERS_16)
#define NAMES_18 NAMES_17 ", " NAMES_OF(NUMBERS_17)
#define NAMES_19 NAMES_18 ", " NAMES_OF(NUMBERS_18)
#define NAMES_20 NAMES_19 ", " NAMES_OF(NUMBERS_19)
#define NAMES_21 NAMES_20 ", " NAMES_OF(NUMBERS_20)
#define NAMES_22 NAMES_21 ", " NAMES_OF(NUMBERS_21)
#define NAMES_23 NAMES_22 ", " NAMES_OF(NUMBERS_22)
#define NAMES_24 NAMES_23 ", " NAMES_OF(NUMBERS_23)
#define NAMES_25 NAMES_24 ", " NAMES_OF(NUMBERS_24)
#define NAMES_26 NAMES_25 ", " NAMES_OF(NUMBERS_25)
#define NAMES_27 NAMES_26 ", " NAMES_OF(NUMBERS_26)
#define NAMES_28 NAMES_27 ", " NAMES_OF(NUMBERS_27)
#define NAMES_29 NAMES_28 ", " NAMES_OF(NUMBERS_28)
#define NAMES_30 NAMES_29 ", " NAMES_OF(NUMBERS_29)
#define NAMES_31 NAMES_30 ", " NAMES_OF(NUMBERS_30)
#define NAMES_32 NAMES_31 ", " NAMES_OF(NUMBERS_31)

#define SUMS_1 SUMS_OF(0)
#define SUMS_2 SUMS_1, SUMS_OF(1)
#define SUMS_3 SUMS_2, SUMS_OF(2)
#define SUMS_4 SUMS_3, SUMS_OF(3)
#define SUMS_5 SUMS_4, SUMS_OF(4)
#define SUMS_6 SUMS_5, SUMS_OF(5)
#define SUMS_7 SUMS_6, SUMS_OF(6)
#define SUMS_8 SUMS_7, SUMS_OF(7)
#define SUMS_9 SUMS_8, SUMS_OF(8)
#define SUMS_10 SUMS_9, SUMS_OF(9)
#define SUMS_11 SUMS_10, SUMS_OF(10)
#define SUMS_12 SUMS_11, SUMS_OF(11)
#define SUMS_13 SUMS_12, SUMS_OF(12)
#define SUMS_14 SUMS_13, SUMS_OF(13)
#define SUMS_15 SUMS_14, SUMS_OF(14)
#define SUMS_16 SUMS_15, SUMS_OF(15)
#define SUMS_17 SUMS_16, SUMS_OF(16)
#define SUMS_18 SUMS_17, SUMS_OF(17)
#define SUMS_19 SUMS_18, SUMS_OF(18)
#define SUMS_20 SUMS_19, SUMS_OF(19)
#define SUMS_21 SUMS_20, SUMS_OF(20)
#define SUMS_22 SUMS_21, SUMS_OF(21)
#define SUMS_23 SUMS_22, SUMS_OF(22)
#define SUMS_24 SUMS_23, SUMS_OF(23)
#define SUMS_25 SUMS_24, SUMS_OF(24)
#define SUMS_26 SUMS_25, SUMS_OF(25)
#define SUMS_27 SUMS_26, SUMS_OF(26)
#define SUMS_28 SUMS_27, SUMS_OF(27)
#define SUMS_29 SUMS_28, SUMS_OF(28)
#define SUMS_30 SUMS_29, SUMS_OF(29)
#define SUMS_31 SUMS_30, SUMS_OF(30)
#define SUMS_32 SUMS_31, SUMS_OF(31)

#define EACH_WGMMA(W) \
  W(1, 8, 2) W(2, 16, 3) W(3, 24, 4) W(4, 32, 5) \
  W(5, 40, 6) W(6, 48, 7) W(7, 56, 8) W(8, 64, 9) \
  W(9, 72, 10) W(10, 80, 11) W(11, 88, 12) W(12, 96, 13) \
  W(13, 104, 14) W(14, 112, 15) W(15, 120, 16) W(16, 128, 17) \
  W(17, 136, 18) W(18, 144, 19) W(19, 152, 20) W(20, 160, 21) \
  W(21, 168, 22) W(22, 176, 23) W(23, 184, 24) W(24, 192, 25) \
  W(25, 200, 26) W(26, 208, 27) W(27, 216, 28) W(28, 224, 29) \
  W(29, 232, 30) W(30, 240, 31) W(31, 248, 32) W(32, 256, 33)
