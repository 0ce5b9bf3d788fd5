// Package common has types that other packages use.
package common
