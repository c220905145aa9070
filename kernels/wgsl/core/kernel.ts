/**
 * What a WGSL kernel generator returns: dispatches in order, over operands and temporary buffers. Everything that is fixed
 * when a plan is compiled (sizes, strides, offsets) travels in a uniform block, so that kernels whose code does not depend on it
 * have the same source, and with that the same pipeline.
 *
 * An element takes one word of 32 bits on the device, whatever its type (u8 and bool as u32, bf16 as an f32 that was rounded);
 * f16 alone takes half of one.
 */

/** One storage buffer that a dispatch binds, in the order of the bindings in its source. */
export interface Binding {
  /** Operands, inputs then outputs, then temporaries, then tables. */
  readonly buffer: number
  readonly access: 'read' | 'read_write'
}

export interface Dispatch {
  /** For people: errors, profiles. */
  readonly label: string
  /** A module with the entry point `main`. Group 0 has the storage buffers, then the uniform block if there is one. */
  readonly source: string
  readonly bindings: readonly Binding[]
  /** The uniform block, a multiple of 16 bytes; empty for none. */
  readonly parameters: Uint8Array<ArrayBuffer>
  readonly workgroups: readonly [x: number, y: number, z: number]
}

export interface WgslKernel {
  readonly dispatches: readonly Dispatch[]
  /** Bytes of each temporary buffer. What lies in it at the start is arbitrary. */
  readonly temporaries?: readonly number[]
  /** Constants that kernels read, too many for a uniform block. */
  readonly tables?: readonly Uint32Array<ArrayBuffer>[]
  /** What the kernel costs, for plans, profiles and benchmarks. */
  readonly flops: number
  readonly bytes: number
}

/** What every device has, and no kernel goes beyond: bytes of workgroup memory, and invocations of a workgroup. */
export const limits = { workgroupBytes: 16384, invocations: 256 } as const

/** What a device offers beyond that. */
export interface WgslTarget {
  readonly f16: boolean
}

/** Nothing. */
export const floor: WgslTarget = { f16: false }
