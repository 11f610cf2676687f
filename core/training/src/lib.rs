//! Fine-tuning and distillation: data set, backward pass, LoRA, optimizer, checkpoint.
