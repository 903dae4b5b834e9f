//! inferscope's kernel programs. Modules, license, panic handler, nothing else.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod emit;
mod kernel;
mod maps;
mod probe;
mod state;
mod watch;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
