#include "http/chars.h"

#define T CHAR_TOKEN
#define V CHAR_VALUE
#define U CHAR_TARGET
#define D CHAR_DIGIT
#define A (T | V | U) /* letters and the signs of a token */
#define L (A | CHAR_UPPER)
#define N (T | V | U | D) /* digits */
#define S (V | U)         /* separators, bytes over 0x7f */
#define OBS8 S, S, S, S, S, S, S, S
#define OBS32 OBS8, OBS8, OBS8, OBS8

const uint8_t chars_class[256] = {
    0,     0,     0,     0,     0, 0, 0, 0, 0, V, 0, 0, 0, 0, 0, 0, /* HTAB */
    0,     0,     0,     0,     0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    V,     A,     S,     T | V, A, A, A, A, S, S, A, A, S, A, A, S, /* SP ! " # $ % & ' ( ) * + , - . / */
    N,     N,     N,     N,     N, N, N, N, N, N, S, S, S, S, S, S, /* 0-9 : ; < = > ? */
    S,     L,     L,     L,     L, L, L, L, L, L, L, L, L, L, L, L, /* @ A-O */
    L,     L,     L,     L,     L, L, L, L, L, L, L, S, S, S, A, A, /* P-Z [ \ ] ^ _ */
    A,     A,     A,     A,     A, A, A, A, A, A, A, A, A, A, A, A, /* ` a-o */
    A,     A,     A,     A,     A, A, A, A, A, A, A, S, A, S, A, 0, /* p-z { | } ~ DEL */
    OBS32, OBS32, OBS32, OBS32,
};
