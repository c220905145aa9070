/** The devices that answer here. A device that is missing is said loudly, and its tests are listed as skipped. */
import { afterAll, inject, test } from 'vitest'
import type { DeviceKind } from '../engine/device/backend.ts'
import type { Device } from '../engine/device/device.ts'
import { device } from '../engine/device/open.ts'
import { setDefaultDevice } from '../engine/device/device.ts'
import type { TensorLike } from '../engine/index.ts'

export interface Opened {
  readonly kind: DeviceKind
  /** Undefined where the device is missing. */
  readonly device: Device | undefined
}

async function open(kind: DeviceKind): Promise<Opened> {
  try {
    return { kind, device: await device(kind, { makeDefault: false }) }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    console.warn(`\nNO ${kind} DEVICE: its tests are SKIPPED (${why})\n`)
    return { kind, device: undefined }
  }
}

/** The devices of the vitest project, opened. Close them with `closeAll` when the file's tests are done. */
export async function openAll(): Promise<readonly Opened[]> {
  return Promise.all(inject('devices').map(open))
}

/** The devices of the vitest project, all of which there must be; closed when the file's tests are done. */
export async function expectAll(): Promise<readonly Device[]> {
  const opened = await Promise.all(inject('devices').map(async (kind) => device(kind, { makeDefault: false })))
  afterAll(async () => Promise.all(opened.map(async (one) => one.close())))
  return opened
}

export async function closeAll(opened: readonly Opened[]): Promise<void> {
  await Promise.all(opened.map(async ({ device: one }) => one?.close()))
}

/** How many of so many random cases a device gets. Nearly every one has kernels of its own, and GPUs in software compile a second for each: a few, unless WEBGPU=all. */
export const casesOn = ({ name }: Device, usual: number): number => (name === 'webgpu' && !inject('thorough') ? Math.ceil(usual / 20) : usual)

/** A test that runs on each device, and is counted as skipped on those that are missing. `timeout`: but on GPUs, whose project has its own. */
export function onEach(opened: readonly Opened[], name: string, body: (device: Device) => Promise<void> | void, timeout?: number): void {
  for (const { kind, device: one } of opened) {
    if (one === undefined) test.skip(`${name} on ${kind}`)
    else test(`${name} on ${kind}`, async () => body(one), kind === 'webgpu' ? undefined : timeout)
  }
}

/** As `onEach`, with the device as the default one and its counters at zero. */
export function withEach(opened: readonly Opened[], name: string, body: (device: Device) => Promise<void>): void {
  onEach(opened, name, async (device) => {
    setDefaultDevice(device)
    device.resetCounters()
    await body(device)
  })
}

export const list = async (x: TensorLike): Promise<number[]> => Array.from(await x.read().data())
