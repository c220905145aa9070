/** Runs a function while its device looks into every run. */
import type { Watch } from './device/backend.ts'
import type { Device } from './device/device.ts'
import { DeviceError } from './error.ts'
import { finished } from './finished.ts'

/** What `fn` returns, once all it queued has run. Throws DeviceError where the device cannot look, or does already. */
export async function watched<T>(name: string, device: Device, watch: Watch, fn: () => T | Promise<T>): Promise<T> {
  device.assertOpen(name)
  const { backend } = device
  if (backend.watch === undefined) throw new DeviceError(`${name}: the ${device.name} device cannot tell the launches of a run apart; use ${watch.kind === 'times' ? 'webgpu' : 'webgpu or reference'}`)
  if (device.watch !== undefined) throw new DeviceError(`${name}: the ${device.name} device is watched already, and by one at a time; wait for the profile or detectAnomaly before`)
  device.watch = watch
  try {
    await device.idle() // What was queued before is not meant.
    backend.watch(watch)
    return finished(name, await fn(), 'iterate inside, in an async function')
  } finally {
    await device.idle()
    backend.watch(undefined)
    device.watch = undefined
  }
}
