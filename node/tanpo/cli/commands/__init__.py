"""One module for each command or group of commands; none imports anything heavy at the top."""
