/**
 * What a WebAssembly kernel generator returns. A kernel is a function
 * `(begin: i32, end: i32, ...args: i32) → void` over one shared linear memory that does the work
 * items begin ≤ i < end; items are independent, so any split over threads gives the same bits.
 */
import type { FunctionBuilder } from './assembler.ts'

/**
 * One argument of a launch: the address of a buffer plus an offset in bytes; the address of a block
 * of i32 that holds the addresses of the listed buffers, in order; the thread's scratch; or a number.
 */
export type Argument =
  | { readonly buffer: number; readonly byteOffset: number }
  | { readonly pointers: readonly number[] }
  | 'scratch'
  | number

export interface WasmKernel {
  /** Kernels with equal keys have equal code; sizes and strides travel as arguments where code does not depend on them. */
  readonly key: string
  /** Parameters, all i32: begin, end, one for each of `args`, then the address of `table` if there is one. */
  build(): FunctionBuilder
  /** `buffer` counts the kernel's inputs first, in order, then its outputs. */
  readonly args: readonly Argument[]
  /** How many independent work items there are. */
  readonly items: number
  /** Bytes of scratch memory each thread needs (16-byte aligned); 0 or absent for none. */
  readonly scratchBytes?: number
  /** Table of constants the kernel reads, placed once in memory; its address is the last argument. */
  readonly table?: Int32Array<ArrayBuffer>
  /** What every call does again, whatever its items, as the flops it takes the time of; absent for nothing much. */
  readonly callFlops?: number
  /** A call repeats nothing that counts: the launch may be cut into many. */
  readonly divisible?: boolean
  /** A launch of the same code over little data, if there is one: see small.ts. */
  readonly small?: () => SmallLaunch | undefined
  /** What the kernel costs, for plans and benchmarks. */
  readonly flops: number
  readonly bytes: number
}

export interface SmallLaunch {
  readonly kernel: WasmKernel
  /** Which of the launch's operands its own are; absent: the same ones. */
  readonly operands?: readonly number[]
}

/** Choices that change code and results: part of the device's fingerprint. */
export interface WasmTarget {
  /** Relaxed SIMD is available: x·y + z is fused. */
  readonly relaxed: boolean
  /**
   * The compiler joins neighbouring 128-bit operations into 256-bit ones (V8 with
   * `--experimental-wasm-revectorize`): tiles of a product are twice as wide. Same bits either way.
   */
  readonly wide?: boolean | undefined
}
