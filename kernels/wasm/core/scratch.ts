/** Areas of the thread's scratch memory, given out before a kernel's code exists; their sizes stay out of the code. */
import { advance, type Code, type Local } from './assembler.ts'
import type { Arguments } from './arguments.ts'

export class ScratchAreas {
  /** Bytes the thread needs. */
  bytes = 0
  private readonly base: Local
  private readonly areas: Local[] = []
  private readonly args: Arguments

  constructor(args: Arguments) {
    this.args = args
    this.base = args.scratch()
  }

  /** A local that holds the address of `bytes` bytes, 64-byte aligned if the scratch is, after `prologue`. */
  area(bytes: number): Local {
    const local = this.args.number(this.bytes)
    this.areas.push(local)
    this.bytes += (bytes + 63) & ~63
    return local
  }

  /** Turns the offsets passed as arguments into addresses; goes first in the function. */
  prologue(): Code {
    return this.areas.map((area) => advance(area, this.base))
  }
}
