/** What every adapter allows as the offset of a binding, in bytes. */
const bindingAlignment = 256

/** Room for `bytes` bytes up to the next offset; nothing has room, too, so that it can be bound. */
export const align = (bytes: number): number => Math.max(1, Math.ceil(bytes / bindingAlignment)) * bindingAlignment
