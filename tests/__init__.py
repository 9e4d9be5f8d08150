"""Tests. Folders whose tests share services are packages, so that those end with the last of them (scope `package`)."""
