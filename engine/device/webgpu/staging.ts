/** Buffers that results come home through. A buffer that has been read is used again. */
import { mapRead, usage } from './flags.ts'
import { classOf } from './bufferPool.ts'

export class Staging {
  private readonly device: GPUDevice
  private free: GPUBuffer[] = []
  created = 0
  /** Readbacks begun. */
  readbacks = 0

  constructor(device: GPUDevice) {
    this.device = device
  }

  /** A buffer to copy at least `bytes` bytes to. */
  take(bytes: number): GPUBuffer {
    const fit = this.free.findIndex(({ size }) => size >= bytes && size <= 4 * classOf(bytes))
    const [known] = fit < 0 ? [] : this.free.splice(fit, 1)
    if (known !== undefined) return known
    this.created++
    return this.device.createBuffer({ size: classOf(bytes), usage: usage.copyTarget | usage.mapRead })
  }

  /** What the buffer holds once the commands submitted so far are done. */
  async read(buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    this.readbacks++
    try {
      await buffer.mapAsync(mapRead, 0, bytes)
      const values = buffer.getMappedRange(0, bytes).slice(0)
      buffer.unmap()
      this.free.push(buffer)
      return values
    } catch (error) {
      buffer.destroy() // One that got no memory would fail the next time, too.
      throw error
    }
  }
}
