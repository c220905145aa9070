/** Host data straight into variables: no plan, no memory but the variable's own. */
import { reach } from './compile/capture.ts'
import type { TypedArray } from './dtype.ts'
import { DeviceError } from './error.ts'
import { realize } from './realize.ts'
import { blockOf } from './run.ts'
import type { Variable, Version, Writer } from './variable.ts'

/**
 * Moves `cell` to `values`, elements of its dtype as the host holds them or the 16 bits of each half, after everything queued before. What was
 * assigned to the variable is forgotten; what was assigned to others and reads it is computed first. Throws DeviceError
 * where the device has no memory, and leaves the variable as it was; where the write itself fails, the variable says so until it is written again.
 */
export async function writeVariable(cell: Variable, values: TypedArray | Uint16Array<ArrayBuffer>): Promise<void> {
  const { device } = cell
  device.assertOpen('write')
  cell.assertHeld('write')
  if (device.backend.refusal !== undefined) throw new DeviceError(device.backend.refusal)
  const reads = device.moved.list().filter((other) => other !== cell && other.move !== undefined && reach([other.move]).leaves.some(({ leaf }) => leaf === cell.now))
  if (reads.length > 0) await realize(...reads)
  const write = new Write(cell, values)
  return device.enqueue(async () => write.execute())
}

class Write implements Writer {
  error: Error | undefined
  succeeded = false
  private readonly cell: Variable
  /** Versions know what wrote them: neither may live as long as they do. */
  private values: TypedArray | Uint16Array<ArrayBuffer> | undefined
  private before: Version | undefined

  constructor(cell: Variable, values: TypedArray | Uint16Array<ArrayBuffer>) {
    this.cell = cell
    this.values = values
    this.before = cell.commit(this)
  }

  async execute(): Promise<void> {
    const { cell, values } = this
    const { device, storage } = cell
    const fresh = storage.block === undefined
    this.values = undefined
    let begun = false
    try {
      await device.hold(storage)
      begun = true
      if (values !== undefined) device.backend.write(blockOf(storage), values, storage.spec)
      cell.poison = undefined
      this.succeeded = true
      this.before = undefined
    } catch (error) {
      this.error = error instanceof Error ? error : new DeviceError(String(error))
      if (begun) cell.poison = this.error // What it held may be half overwritten.
      else this.undo(cell)
      if (fresh && !begun) device.release(storage)
      throw this.error
    }
  }

  undo(cell: Variable): void {
    if (this.before !== undefined) cell.undo(this, this.before)
  }
}
