//! What the program tells about itself: traces at a collector, numbers at `/metrics`, and lines that hold no secret.

mod collector;
mod logs;
mod numbers;
mod traces;
